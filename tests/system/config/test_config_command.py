"""`clusterf config` with a real etcd."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clusterf.cli.main import main
from clusterf.cli.transfer import Change, write_keys
from clusterf.etcd.client import Client
from clusterf.etcd.transactions import OPERATIONS
from tests.lab.etcd import PASSWORD, USER, EtcdCluster
from tests.processes import started

CLUSTERF = Path(sys.executable).with_name("clusterf")
PREFIXES = (f"clusterf/{number}" for number in count())
TREE = {
    "health": '{"type": "tcp", "port": 9}\n',
    "routes/r": '{"Prefix": "10.0.0.0/8", "IPVSMethod": "masq"}\n',
    "services/a b/frontend": '{"ipv4": "10.0.0.2", "udp": 53}\n',
    "services/web/backends/1": '{"ipv4": "10.1.0.1", "tcp": 8080}\n',
    "services/web/frontend": '{"ipv4": "10.0.0.1", "tcp": 80}\n',
}


def clusterf(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["config", *(str(argument) for argument in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def write(folder: Path, texts: dict[str, str]) -> Path:
    for key, text in texts.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def files(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def prefix() -> str:
    """A prefix of the test's own."""
    return next(PREFIXES)


@pytest.fixture
def url(etcd: EtcdCluster, prefix: str) -> str:
    return etcd.url(prefix)


@pytest.fixture
def client(etcd: EtcdCluster, prefix: str) -> Iterator[Client]:
    with Client(etcd.location(prefix), etcd.endpoints[0]) as client:
        yield client


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(tmp_path / "tree", TREE)


def held(client: Client) -> dict[bytes, bytes]:
    return dict(client.list().items)


def test_show_prints_the_same_of_etcd_as_of_the_loaded_tree(tree, url):
    assert clusterf("load", tree, url).exit_code == 0
    shown = clusterf("show", url).stdout
    assert shown == clusterf("show", f"file://{tree}").stdout
    assert len(shown.splitlines()) == len(TREE)


def test_load_strips_white_space_around_values(tree, url, client):
    clusterf("load", tree, url)
    assert held(client) == {key.encode(): text.strip().encode() for key, text in TREE.items()}


def test_load_prints_the_difference_and_a_summary(tree, url, client):
    client.transact([(b"routes/r", b"{}"), (b"routes/other", b"{}"), (b"health", b'{"type": "tcp", "port": 9}')], [])
    result = clusterf("load", url, tree)
    assert result.stdout.splitlines() == [
        '~ routes/r {"Prefix": "10.0.0.0/8", "IPVSMethod": "masq"}',
        '+ services/a\\x20b/frontend {"ipv4": "10.0.0.2", "udp": 53}',
        '+ services/web/backends/1 {"ipv4": "10.1.0.1", "tcp": 8080}',
        '+ services/web/frontend {"ipv4": "10.0.0.1", "tcp": 80}',
        "put 4, deleted 0, unchanged 1, kept 1",
    ]


def test_load_prints_json(tree, url, client):
    client.transact([(b"routes/other", b"")], [])
    lines = [json.loads(line) for line in clusterf("load", "--json", "--prune", tree, url).stdout.splitlines()]
    assert lines[0] == {"change": "added", "key": "health", "value": {"type": "tcp", "port": 9}}
    assert lines[-2:] == [
        {"change": "deleted", "key": "routes/other"},
        {"put": 5, "deleted": 1, "unchanged": 0, "kept": 0, "dry_run": False},
    ]


def test_second_load_writes_nothing(tree, url, client):
    clusterf("load", tree, url)
    before = client.list()
    assert clusterf("load", tree, url).stdout == "put 0, deleted 0, unchanged 5, kept 0\n"
    assert client.list() == before


def test_dry_run_prints_the_difference_and_writes_nothing(tree, url, client):
    before = client.list()
    result = clusterf("load", "--dry-run", "--prune", tree, url)
    assert result.stdout.splitlines()[0] == '+ health {"type": "tcp", "port": 9}'
    assert result.stdout.splitlines()[-1] == "dry run: put 5, deleted 0, unchanged 0, kept 0"
    assert client.list() == before


def test_load_writes_nothing_if_one_object_is_bad(tree, url, client):
    write(tree, {"services/web/backends/2": '{"ipv4": "x"}'})
    result = clusterf("load", tree, url)
    assert result.exit_code == 1
    assert "services/web/backends/2: ipv4: not an IPv4 address: x" in result.stdout
    assert held(client) == {}


def test_keys_only_in_etcd_are_kept_without_prune(tree, url, client):
    client.transact([(b"services/web/backends/docker", b"{}")], [])
    clusterf("load", tree, url)
    assert b"services/web/backends/docker" in held(client)
    result = clusterf("load", "--prune", tree, url)
    assert result.stdout == "- services/web/backends/docker\nput 0, deleted 1, unchanged 5, kept 0\n"
    assert b"services/web/backends/docker" not in held(client)


def test_empty_tree_prunes_nothing(tmp_path, url, client):
    client.transact([(b"health", b"{}")], [])
    assert clusterf("load", "--prune", tmp_path, url).exit_code == 2
    assert held(client) == {b"health": b"{}"}


@pytest.fixture
def lease(client: Client) -> int:
    """A lease with a backend and a route on it, as nodes publish them."""
    lease = client.grant(60)
    published = [(b"services/web/backends/docker", b'{"ipv4": "10.1.0.9"}'), (b"routes/net", b'{"IPVSMethod": "masq"}')]
    client.transact(published, [], lease)
    return lease


def test_dump_leaves_out_what_has_a_lease_and_says_how_many(tree, url, client, lease, tmp_path):
    clusterf("load", tree, url)
    result = clusterf("dump", url, tmp_path / "copy")
    assert (result.exit_code, result.stdout) == (0, "written 5, refused 0, left out 2\n")
    note = "left out 2 keys that are attached to a lease, which nodes publish; --leased writes them too\n"
    assert result.stderr == note
    assert files(tmp_path / "copy") == TREE
    result = clusterf("dump", "--leased", url, tmp_path / "all")
    assert (result.stdout, result.stderr) == ("written 7, refused 0, left out 0\n", "")
    assert (tmp_path / "all/services/web/backends/docker").exists()


def test_prune_keeps_what_has_a_lease_unless_told_otherwise(tree, url, client, lease):
    client.transact([(b"routes/old", b"{}")], [])
    result = clusterf("load", "--prune", tree, url)
    assert result.stdout.splitlines()[-2:] == ["- routes/old", "put 5, deleted 1, unchanged 0, kept 2"]
    assert result.stderr == "kept 2 keys that are attached to a lease, which nodes publish; --leased prunes them too\n"
    assert client.list().leases == {b"services/web/backends/docker": lease, b"routes/net": lease}
    result = clusterf("load", "--prune", "--leased", tree, url)
    assert (result.stdout.splitlines()[-1], result.stderr) == ("put 0, deleted 2, unchanged 5, kept 0", "")
    assert len(held(client)) == len(TREE)


def test_key_of_the_tree_that_has_a_lease_in_etcd_is_skipped_and_reported(tree, url, client, lease):
    write(tree, {"services/web/backends/docker": '{"ipv4": "10.1.0.8"}', "routes/net": '{"IPVSMethod": "masq"}'})
    for form in ("--dry-run", "--prune"):
        result = clusterf("load", form, tree, url)
        assert result.exit_code == 0
        reason = "skipped: attached to a lease, so a node publishes it"
        assert f"{url}: services/web/backends/docker: {reason}" in result.stdout.splitlines()
        assert result.stdout.endswith("put 5, deleted 0, unchanged 1, kept 0, skipped 1\n")
    assert client.leased(lease) == {
        b"services/web/backends/docker": b'{"ipv4": "10.1.0.9"}',
        b"routes/net": b'{"IPVSMethod": "masq"}',
    }
    assert clusterf("load", "--leased", tree, url).stdout.endswith("put 1, deleted 0, unchanged 6, kept 0\n")
    assert client.list().leases == {b"routes/net": lease}


def test_key_that_gets_its_lease_after_the_list_is_left_alone(client):
    client.transact([(b"a", b"1"), (b"b", b"1"), (b"c", b"1")], [])
    lease = client.grant(60)
    client.transact([(b"a", b"theirs"), (b"c", b"theirs"), (b"new", b"theirs")], [], lease)
    changes = [Change(path, None, b"ours") for path in (b"a", b"b", b"d", b"new")] + [Change(b"c", b"1", None)]
    assert write_keys(client, changes) == [b"a", b"new", b"c"]
    assert held(client) == {b"a": b"theirs", b"b": b"ours", b"c": b"theirs", b"d": b"ours", b"new": b"theirs"}


def test_unknown_key_of_the_tree_is_not_loaded(tree, url, client):
    write(tree, {"services/web/notes": "hello"})
    assert clusterf("load", tree, url).exit_code == 0
    assert len(held(client)) == len(TREE)


def test_load_and_dump_restore_the_tree(tree, url, tmp_path):
    clusterf("load", tree, url)
    result = clusterf("dump", url, tmp_path / "new/copy")
    assert (result.exit_code, result.stdout) == (0, "written 5, refused 0, left out 0\n")
    assert files(tmp_path / "new/copy") == TREE


def test_three_thousand_keys_are_loaded_and_dumped(tmp_path, url, client):
    texts = {f"services/web/backends/{n}": f'{{"ipv4": "10.1.{n // 250}.{n % 250 + 1}"}}\n' for n in range(3000)}
    write(tmp_path / "tree", texts)
    revision = client.list().revision
    result = clusterf("load", tmp_path / "tree", url)
    assert result.stdout.endswith("put 3000, deleted 0, unchanged 0, kept 0\n")
    assert client.list().revision == revision + -(-3000 // OPERATIONS)
    clusterf("dump", tmp_path / "copy", url)
    assert files(tmp_path / "copy") == texts


def test_dump_into_a_nonempty_directory_needs_force(tree, url):
    clusterf("load", tree, url)
    write(tree, {"health": "{}", "mine": "stays"})
    assert clusterf("dump", url, tree).exit_code == 2
    assert files(tree)["health"] == "{}"
    assert clusterf("dump", "--force", url, tree).exit_code == 0
    assert files(tree) == TREE | {"mine": "stays"}


def test_hostile_names_in_etcd_make_no_file_outside_of_the_directory(tmp_path, url, client):
    hostile = [b"services/../../x/frontend", b"services/./frontend", b"services/../frontend", b"routes/.."]
    fine = [b"routes/new\nline", b"routes/\xff"]
    client.transact([(path, b"{}") for path in hostile + fine], [])
    client.transact([(b"services/web/extra", b"{}")], [])
    result = clusterf("dump", url, tmp_path / "deep/copy")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 6
    assert "services/./frontend: not written: a file name must not begin with a dot" in result.stdout
    assert result.stdout.endswith("written 2, refused 4, left out 1\n")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["new\nline", "\udcff"]


def test_names_from_etcd_are_escaped_on_every_line(url, client):
    client.transact([(b"routes/a b\n\xff\x1b", b"{}"), (b"routes/bad\nname", b"{")], [])
    assert clusterf("show", url).stdout == "routes/a\\x20b\\x0a\\xff\\x1b {}\n"
    assert "routes/bad\\x0aname: " in clusterf("check", url).stdout


def test_check_exits_with_1_only_if_an_object_is_bad(url, client):
    client.transact([(b"services/web/frontend", b'{"ipv4": "10.0.0.1", "tcp": 80}'), (b"unknown", b"")], [])
    assert clusterf("check", url).exit_code == 0
    client.transact([(b"services/two/frontend", b'{"ipv4": "10.0.0.1", "tcp": 80}')], [])
    assert clusterf("check", url).exit_code == 1


def test_unreachable_endpoint_is_skipped(etcd, tree, prefix):
    url = f"etcd://127.0.0.1:1,{etcd.endpoints[0]}/{prefix}"
    assert clusterf("load", tree, url).exit_code == 0
    assert len(clusterf("show", url).stdout.splitlines()) == len(TREE)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_watch_prints_changes_at_once(url, client, form):
    client.transact([(b"health", b"{}")], [])
    command = [CLUSTERF, "config", "watch", *form, url]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        lines = [process.stdout.readline()]
        client.transact([(b"routes/r", b'{"Prefix":"10.1.2.3/8"}')], [])
        lines.append(process.stdout.readline())
        client.transact([(b"routes/r", b'{"Prefix":""}')], [])
        lines.append(process.stdout.readline())
        client.transact([(b"routes/r", b"{")], [])
        lines.append(process.stdout.readline())
        client.transact([], [b"routes/r"])
        lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr.read() == ""
    if form:
        printed = [json.loads(line) for line in lines]
        assert [line.get("change", "problem") for line in printed] == [
            "added",
            "added",
            "changed",
            "problem",
            "deleted",
        ]
        assert printed[1]["value"] == {"Prefix": "10.0.0.0/8"}
        assert printed[3]["bad"]
    else:
        problem = lines.pop(3)
        assert problem.startswith(f"{url}: routes/r: ")
        assert lines == ["+ health {}\n", '+ routes/r {"Prefix": "10.0.0.0/8"}\n', "~ routes/r {}\n", "- routes/r\n"]


def test_flags_authenticate_with_certificates_and_a_password(tmp_path, tree):
    with EtcdCluster(tmp_path / "etcd", tls=True, auth=True) as cluster:
        assert cluster.tls
        password = tmp_path / "password"
        password.write_text(f"{PASSWORD}\n")
        flags = ["--etcd-ca", cluster.tls.ca, "--etcd-user", USER, "--etcd-password-file", password]
        assert clusterf("load", *flags, tree, cluster.url()).exit_code == 0
        assert len(clusterf("show", *flags, cluster.url()).stdout.splitlines()) == len(TREE)
        denied = clusterf("show", *flags, cluster.url("elsewhere"))
        assert (denied.exit_code, denied.stdout) == (1, "")
        assert "permission denied" in denied.stderr
        password.write_text("wrong")
        refused = clusterf("show", *flags, cluster.url())
        assert refused.exit_code == 1
        assert len(refused.stderr.splitlines()) == 1
