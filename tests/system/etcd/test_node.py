"""A node that follows etcd: the resulting table, and authentication."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterf.etcd.client import Client
from tests.lab.etcd import PASSWORD, USER, EtcdCluster
from tests.servers import Server, answer
from tests.system.support.etcd_config import Config, EtcdNode, etcd_node
from tests.system.support.node import Tree
from tests.waiting import wait_until

SERVICES = [(1, 1, 10), (1, 2, 20), (2, 1, 5)]
AT_ONCE = 2.0  # seconds, the limit for what takes a few hundredths


@pytest.fixture
def config(etcd: EtcdCluster) -> Config:
    config = Config(etcd)
    config.change(*SERVICES)
    return config


@pytest.fixture
def start(tmp_path: Path, config: Config) -> Callable[..., EtcdNode]:
    """Return a node on that configuration, to be entered, with more flags."""
    return lambda *flags: etcd_node(tmp_path / "node", config.cluster.url(config.prefix), flags=flags)


def test_each_edit_with_etcdctl_changes_the_table_at_once(tmp_path: Path) -> None:
    vip = "10.107.107.107:1337"
    frontend, b1, b2 = f"-A -t {vip} -s wlc", f"-a -t {vip} -r 10.3.107.1:1337", f"-a -t {vip} -r 10.3.107.2:1337"
    steps: list[tuple[list[str], list[str]]] = [
        (
            ["put", "/clusterf/services/test/frontend", '{"ipv4": "10.107.107.107", "tcp": 1337}'],
            [frontend],
        ),
        (
            ["put", "/clusterf/services/test/backends/test3-1", '{"ipv4": "10.3.107.1", "tcp": 1337}'],
            [frontend, f"{b1} -m -w 10"],
        ),
        (
            ["put", "/clusterf/services/test/backends/test3-2", '{"ipv4": "10.3.107.2", "tcp": 1337, "weight": 5}'],
            [frontend, f"{b1} -m -w 10", f"{b2} -m -w 5"],
        ),
        (
            ["put", "/clusterf/routes/test3", '{"Prefix": "10.3.107.0/24", "IPVSMethod": "droute"}'],
            [frontend, f"{b1} -g -w 10", f"{b2} -g -w 5"],
        ),
        (
            ["put", "/clusterf/routes/test3", '{"Prefix": "10.3.107.2/32", "IPVSMethod": "droute"}'],
            [frontend, f"{b1} -m -w 10", f"{b2} -g -w 5"],
        ),
        (["del", "/clusterf/routes/test3"], [frontend, f"{b1} -m -w 10", f"{b2} -m -w 5"]),
        (
            ["put", "/clusterf/services/test/backends/test3-1", '{"ipv4": "10.3.107.1", "tcp": 1337, "weight": 0}'],
            [frontend, f"{b1} -m -w 0", f"{b2} -m -w 5"],
        ),
        (["del", "/clusterf/services/test/backends/test3-2"], [frontend, f"{b1} -m -w 0"]),
        (["del", "--prefix", "/clusterf/services/test/"], []),
    ]
    with EtcdCluster(tmp_path / "etcd") as cluster, etcd_node(tmp_path / "node", cluster.url()) as node:
        node.wait_for_shadow([])
        for command, table in steps:
            cluster.ctl(*command)
            began = time.monotonic()
            node.wait_for_shadow(table)
            assert time.monotonic() - began < AT_ONCE, command


@pytest.mark.parametrize("bad", [False, True])
def test_once_applies_the_configuration_and_its_status_reports_bad_objects(
    start: Callable[..., EtcdNode], config: Config, *, bad: bool
) -> None:
    if bad:
        config.put(b"services/s1/backends/bad", b"{")
    node = start()
    assert node.once() == (3 if bad else 0)
    assert node.only_table == config.table


def test_once_without_etcd_times_out(tmp_path: Path) -> None:
    node = etcd_node(tmp_path, "etcd://127.0.0.1:9/clusterf", flags=["--once-timeout", "1"])
    began = time.monotonic()
    assert node.once() == 1
    assert 1 <= time.monotonic() - began < 10
    assert node.only_table == node.operations == []


@pytest.mark.parametrize("allowed", [False, True])
def test_backend_on_loopback_is_neither_probed_nor_awaited_unless_it_is_allowed(
    start: Callable[..., EtcdNode], config: Config, *, allowed: bool
) -> None:
    with Server(answer(200)) as server:
        config.put(b"services/s3/frontend", b'{"ipv4": "10.107.0.3", "tcp": 80}')
        config.put(b"services/s3/health", b'{"type": "http", "path": "/v3/kv/put"}')
        config.put(b"services/s3/backends/b", b'{"ipv4": "127.0.0.1", "tcp": %d}' % server.port)
        node = start(*(["--health-allow", "127.0.0.0/8"] if allowed else []))
        began = time.monotonic()
        assert node.once() == 0
        assert time.monotonic() - began < 30  # the timeout is 60
        real = f"-a -t 10.107.0.3:80 -r 127.0.0.1:{server.port} -m -w {10 if allowed else 0}"
        assert node.only_table == sorted([*config.table, "-A -t 10.107.0.3:80 -s wlc", real])
        refused = f"health: s3/b: 127.0.0.1:{server.port} is not probed: not allowed (--health-deny)"
        assert (refused in node.log) is not allowed
        assert bool(server.accepted) is allowed


@pytest.mark.parametrize("etcd_first", [False, True])
def test_later_source_wins(config: Config, tmp_path: Path, *, etcd_first: bool) -> None:
    tree = Tree(tmp_path / "tree")
    tree.service("s1", {"ipv4": "10.107.0.1", "tcp": 80, "scheduler": "rr"}, b9={"ipv4": "10.1.0.9", "tcp": 80})
    urls = [config.cluster.url(config.prefix), tree.url]
    scheduler = "rr" if etcd_first else "wlc"
    one = "-a -t 10.107.0.1:80 -r 10.1.0.9:80 -m -w 10"
    expected = sorted(
        [one, *(line.replace("10.107.0.1:80 -s wlc", f"10.107.0.1:80 -s {scheduler}") for line in config.table)]
    )
    with etcd_node(tmp_path / "node", *(urls if etcd_first else urls[::-1])) as node:
        node.wait_for_shadow(expected)
        config.change((1, 2, None))
        expected.remove("-a -t 10.107.0.1:80 -r 10.1.0.2:80 -m -w 20")
        node.wait_for_shadow(expected)
        tree.remove("services/s1")
        node.wait_for_shadow(config.table)


def test_routes_of_filtered_sources_are_ignored(config: Config, tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    tree.put("routes/r", {"Prefix": "10.1.0.0/16", "IPVSMethod": "tunnel"})
    config.put(b"routes/r2", b'{"Prefix": "10.2.0.0/16", "IPVSMethod": "droute"}')
    flags = ["--filter-routes", "etcd://"]
    with etcd_node(tmp_path / "node", config.cluster.url(config.prefix), tree.url, flags=flags) as node:
        node.wait_for_shadow([line.replace("-r 10.2.0.1:80 -m", "-r 10.2.0.1:80 -g") for line in config.table])


def test_no_operation_before_all_sources_are_synced(config: Config, tmp_path: Path) -> None:
    away = "etcd://127.0.0.1:9/clusterf"
    with etcd_node(tmp_path / "node", config.cluster.url(config.prefix), away) as node:
        node.wait_for_log("nothing is written until it responds")
        node.wait_for_log("following")
        assert node.operations == []


def test_large_configuration_is_followed(start: Callable[..., EtcdNode], config: Config) -> None:
    config.change(*[(service, backend, 10) for service in range(1, 41) for backend in range(500)])
    with start() as node:
        node.wait_for_shadow(config.table)
        config.change((7, 7, None), (7, 8, 1))
        node.wait_for_shadow(config.table)
        assert node.deletions == ["ipvsadm -d -t 10.107.0.7:80 -r 10.7.0.7:80"]


def test_bad_values_and_strange_keys_affect_no_others(start: Callable[..., EtcdNode], config: Config) -> None:
    frontend = {"ipv4": "10.107.0.9", "tcp": 80}
    with start() as node:
        node.wait_for_shadow(config.table)
        config.put(b"services/s1/backends/b1", b"{")
        config.put(b"services/s1/backends/b2", b" " * 1_000_000 + b"{")
        config.put(b"services/s1/backends/new", b"\xff\x00")
        config.put(b"services/s2/frontend", b"[]")
        config.put(b"services/s1/extra", b"1")
        config.put(b"", b"x")
        config.put(b"/", b"x")
        config.put(b"services//frontend", b"{}")
        config.put(b"services/\xff\n\x1b[31m/frontend", json.dumps(frontend).encode())
        strange = ["-A -t 10.107.0.9:80 -s wlc"]
        node.wait_for_shadow(sorted(config.table + strange))
        for name in ("s1/backends/b1", "s1/backends/b2", "s1/backends/new", "s2/frontend"):
            node.wait_for_log(rf"warning: .*services/{name}: ")
        node.wait_for_log(r"services/s1/extra: unknown key \(ignored\)")
        assert "\x1b" not in node.log
        assert node.deletions == []
        config.cluster.members[0].kill()
    with start() as node:  # etcd is down
        try:
            node.wait_for_shadow(sorted(config.table + strange))
        finally:
            config.cluster.start()
        config.change((2, 1, 6))
        node.wait_for_shadow(sorted(config.table + strange))
        assert node.deletions == []


def test_value_of_a_megabyte_affects_no_others(start: Callable[..., EtcdNode], config: Config) -> None:
    with start() as node:
        node.wait_for_shadow(config.table)
        config.put(b"routes/large", b'{"Prefix": "192.0.2.0/24"' + b" " * 1_000_000 + b"}")
        config.change((1, 1, 7))
        node.wait_for_shadow(config.table)
        assert node.deletions == []


def password_flags(file: Path) -> list[str]:
    return ["--etcd-user", USER, "--etcd-password-file", str(file)]


def test_wrong_password_is_reported_and_the_right_one_is_used_once_it_is_there(
    guarded: EtcdCluster, tmp_path: Path
) -> None:
    config = Config(guarded)
    config.change(*SERVICES)
    file = tmp_path / "password"
    file.write_text("wrong\n")
    with etcd_node(tmp_path / "node", guarded.url(config.prefix), flags=password_flags(file)) as node:
        node.wait_for_log("warning: .*authentication failed.*keeping the current state")
        node.wait_for_log("nothing is written until it responds")
        file.write_text(f"{PASSWORD}\n")
        node.wait_for_shadow(config.table)


def test_expired_token_does_no_harm(guarded: EtcdCluster, tmp_path: Path) -> None:
    config = Config(guarded)
    config.change(*SERVICES)
    config.cluster.location()  # writes the password
    with etcd_node(
        tmp_path / "node", guarded.url(config.prefix), flags=password_flags(guarded._directory / "password")
    ) as node:
        node.wait_for_shadow(config.table)
        let_tokens_expire(guarded)
        config.change((1, 1, None), (1, 3, 7))
        node.wait_for_shadow(config.table)
        node.reload()
        config.change((1, 3, 8))
        node.wait_for_shadow(config.table)
        guarded.kill()
        node.wait_for_log("keeping the current state")
        guarded.start()
        config.change((1, 3, None))
        node.wait_for_shadow(config.table)
        assert len(node.deletions) == 2
        assert "invalid auth token" not in node.log


def let_tokens_expire(cluster: EtcdCluster) -> None:
    """Wait until a token issued now has expired."""
    with Client(cluster.location(), cluster.endpoints[0]) as client:
        began = time.monotonic()
        # use prolongs a token, so wait first, and then use it
        wait_until(lambda: time.monotonic() - began > 2.5)
        with pytest.raises(Exception, match="invalid auth token"):
            client.list()


def test_missing_permission_for_the_prefix_is_reported(guarded: EtcdCluster, tmp_path: Path) -> None:
    guarded.location()
    flags = password_flags(guarded._directory / "password")
    with etcd_node(tmp_path, guarded.url("elsewhere"), flags=flags) as node:
        node.wait_for_log("warning: .*permission denied")
        node.wait_for_log("nothing is written until it responds")
        assert node.operations == []


def test_tls_needs_the_right_authority_and_certificate(encrypted: EtcdCluster, tmp_path: Path) -> None:
    tls = encrypted.tls
    assert tls
    config = Config(encrypted)
    config.change(*SERVICES)
    url = encrypted.url(config.prefix)
    certificate = ["--etcd-cert", tls.client[0], "--etcd-key", tls.client[1]]
    stranger = ["--etcd-cert", tls.stranger[0], "--etcd-key", tls.stranger[1]]
    for flags in (["--etcd-ca", tls.wrong_ca, *certificate], ["--etcd-ca", tls.ca], ["--etcd-ca", tls.ca, *stranger]):
        with etcd_node(tmp_path / "node", url, flags=flags) as node:
            node.wait_for_log("warning: .*keeping the current state")
            node.wait_for_log("nothing is written until it responds")
            assert node.operations == []
    with etcd_node(tmp_path / "node", url, flags=["--etcd-ca", tls.ca, *certificate]) as node:
        node.wait_for_shadow(config.table)
        config.change((1, 1, None))
        node.wait_for_shadow(config.table)
    with etcd_node(tmp_path / "node", url, flags=["--etcd-ca", tls.wrong_ca, *certificate]) as node:
        node.wait_for_log("using the last-good copy of revision")
        node.wait_for_shadow(config.table)
        assert node.deletions == []


def test_changed_ca_file_is_used_for_the_next_connection(encrypted: EtcdCluster, tmp_path: Path) -> None:
    tls = encrypted.tls
    assert tls
    config = Config(encrypted)
    config.change(*SERVICES)
    ca = tmp_path / "ca"
    ca.write_bytes(Path(tls.wrong_ca).read_bytes())
    credentials = encrypted.location().credentials
    flags = ["--etcd-ca", str(ca), "--etcd-cert", str(credentials.cert), "--etcd-key", str(credentials.key)]
    with etcd_node(tmp_path / "node", encrypted.url(config.prefix), flags=flags) as node:
        node.wait_for_log("nothing is written until it responds")
        ca.write_bytes(Path(tls.ca).read_bytes())
        node.wait_for_shadow(config.table)
