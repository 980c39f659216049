"""A node with the role docker: what it publishes of the containers of a real engine, in a real etcd, as they live."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.lab.docker import Engine
from tests.lab.etcd import EtcdCluster
from tests.lab.images import GRACEFUL, HEALTH, MULTI
from tests.system.support.docker_node import NODE_NAME, DockerNode, Published, labels, path
from tests.system.support.etcd_config import etcd_node
from tests.waiting import wait_until

AT_ONCE = 1.0  # seconds, for what takes a few hundredths


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """What the node of this module has published."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield Published(cluster)


@pytest.fixture(scope="module")
def running_node(
    tmp_path_factory: pytest.TempPathFactory, running_engine: Engine, published: Published
) -> Iterator[DockerNode]:
    """A node for all tests of this module."""
    flags = ["--route-network", "front", "--route-gateway4", "192.0.2.1", "--route-ipvs-method", "tunnel"]
    with DockerNode(tmp_path_factory.mktemp("node"), running_engine.url, published, *flags) as node:
        yield node


@pytest.fixture
def node(running_node: DockerNode, engine: Engine, published: Published) -> Iterator[DockerNode]:
    """A node that follows an engine without containers; what a test leaves behind goes with it."""
    running_node.wait_for(lambda: not published.keys())
    running_node.forget()
    with running_node.explained():
        yield running_node
    engine.clear()


def test_container_is_a_backend_within_a_second_and_drains_when_it_is_stopped(
    node: DockerNode, engine: Engine, published: Published, tmp_path: Path
) -> None:
    vip = "10.107.107.107:1337"
    with etcd_node(tmp_path, published.url) as director:
        published.put("services/test/frontend", {"ipv4": "10.107.107.107", "tcp": 1337})
        director.wait_for_shadow([f"-A -t {vip} -s wlc"])
        container = engine.run(GRACEFUL, labels=labels(), ports={})
        started = time.monotonic()
        address = engine.address(container)
        real = f"-a -t {vip} -r {address}:8080 -m -w"
        director.wait_for_shadow([f"-A -t {vip} -s wlc", f"{real} 10"])
        assert time.monotonic() - started < AT_ONCE
        assert published.keys()[path(container)] == {"ipv4": address, "tcp": 8080}

        assert engine.fetch(address)
        answers: list[str] = []
        request = threading.Thread(target=lambda: answers.append(engine.fetch(address, "/cgi-bin/slow?1")))
        request.start()
        stopping = threading.Thread(target=container.stop, kwargs={"timeout": 20})
        stopping.start()
        director.wait_for_shadow([f"-A -t {vip} -s wlc", f"{real} 0"])
        assert engine.answers(address)  # it is still there, and finishes its requests
        request.join()
        assert answers == [container.id[:12]]
        stopping.join()
        assert published.weight(container) == 0
        container.remove()
        director.wait_for_shadow([f"-A -t {vip} -s wlc"])
        published.delete("services/test/frontend")


@pytest.mark.parametrize("stop_signal", ["SIGTERM", "SIGUSR2"])
def test_signalled_container_drains_long_before_its_end(
    node: DockerNode, engine: Engine, published: Published, stop_signal: str
) -> None:
    container = engine.run(GRACEFUL, labels=labels(), stop_signal=stop_signal)
    published.wait_for(container, 10)
    assert engine.fetch(engine.address(container))
    container.kill(stop_signal)
    published.wait_for(container, 0, AT_ONCE)
    container.reload()
    assert container.status == "running"
    container.wait(timeout=20)
    assert published.weight(container) == 0


def test_events_that_do_not_stop_a_container_change_nothing(
    node: DockerNode, engine: Engine, published: Published
) -> None:
    container = engine.run(labels=labels())
    published.wait_for(container, 10)
    assert engine.fetch(engine.address(container))
    before = published.revisions()
    container.kill("SIGHUP")
    container.kill("SIGUSR1")
    container.rename("another-name")
    container.exec_run(["true"])
    marker = engine.run(labels=labels("marker"))  # shows that the earlier events have been processed
    wait_until(lambda: published.weight(marker, "marker") == 10)
    assert published.revisions()[path(container)] == before[path(container)]


def test_key_follows_pause_death_restart_and_removal(node: DockerNode, engine: Engine, published: Published) -> None:
    container = engine.run(labels=labels())
    published.wait_for(container, 10)
    created = published.revisions()[path(container)].created
    for do, weight in [
        (container.pause, 0),
        (container.unpause, 10),
        (lambda: container.kill("SIGKILL"), 0),
        (container.start, 10),
        (lambda: container.restart(timeout=0), 10),
        (lambda: container.stop(timeout=0), 0),
    ]:
        do()
        published.wait_for(container, weight)
    engine.run(labels=labels("other"))  # takes the address
    container.start()
    wait_until(lambda: published.keys()[path(container)] == {"ipv4": engine.address(container), "tcp": 8080})
    assert published.revisions()[path(container)].created == created
    container.remove(force=True)
    published.wait_for(container, None)


def test_created_container_is_published_when_it_starts(node: DockerNode, engine: Engine, published: Published) -> None:
    container = engine.client.containers.create("lab/web", labels=labels())
    marker = engine.run(labels=labels("marker"))
    wait_until(lambda: published.weight(marker, "marker") == 10)
    assert published.weight(container) is None
    container.start()
    published.wait_for(container, 10)


def test_unhealthy_container_has_weight_0(node: DockerNode, engine: Engine, published: Published) -> None:
    container = engine.run(HEALTH, "sh", "-c", "touch /tmp/healthy; exec serve 8080", labels=labels())
    published.wait_for(container, 10, AT_ONCE)  # it counts while its health is not known yet
    container.exec_run(["rm", "/tmp/healthy"])
    published.wait_for(container, 0)
    container.exec_run(["touch", "/tmp/healthy"])
    published.wait_for(container, 10)


def test_labelled_network_may_be_connected_and_disconnected_later(
    node: DockerNode, engine: Engine, published: Published
) -> None:
    pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet="fd00:7::/64")])
    six = engine.client.networks.create("six", enable_ipv6=True, ipam=pool)
    container = engine.run(labels=labels(network="six"), name="web")
    node.wait_for_log("docker: web: network: not connected to network six")
    assert published.weight(container) is None
    six.connect(container)
    addresses = {"ipv4": engine.address(container, "six"), "ipv6": engine.address(container, "six", ipv6=True)}
    wait_until(lambda: published.keys().get(path(container)) == {**addresses, "tcp": 8080})
    six.disconnect(container)
    wait_until(lambda: published.weight(container) == 0)
    six.connect(container, ipv4_address=None)
    wait_until(lambda: published.weight(container) == 10)


def test_container_backs_several_services(node: DockerNode, engine: Engine, published: Published) -> None:
    own = {"net.qmsk.clusterf.backend:api.tcp": "9090", "net.qmsk.clusterf.backend:dns.udp": "5353"}
    container = engine.run(MULTI, labels=labels("web api dns", backend_weight="20") | own)
    ipv4 = engine.address(container)
    wait_until(lambda: len(published.keys()) == 3)
    assert published.keys() == {
        path(container, "web"): {"ipv4": ipv4, "tcp": 8080, "weight": 20},
        path(container, "api"): {"ipv4": ipv4, "tcp": 9090, "weight": 20},
        path(container, "dns"): {"ipv4": ipv4, "tcp": 8080, "udp": 5353, "weight": 20},
    }
    assert {backend["publisher"] for backend in published.values().values()} == {NODE_NAME}


def test_containers_without_labels_are_ignored_and_invalid_labels_reported(
    node: DockerNode, engine: Engine, published: Published
) -> None:
    engine.run()
    engine.run(name="hidden", labels=labels(backend_tcp="81"))
    good = engine.run(labels=labels())
    published.wait_for(good, 10)
    node.wait_for_log("docker: hidden: backend.tcp: port 81/tcp is not exposed")
    assert list(published.keys()) == [path(good)]


def test_network_is_advertised_while_it_exists(node: DockerNode, engine: Engine, published: Published) -> None:
    pools = [docker.types.IPAMPool(subnet=subnet) for subnet in ("172.30.1.0/24", "fd00:8::/64")]
    ipam = docker.types.IPAMConfig(pool_configs=pools)
    network = engine.client.networks.create("front", enable_ipv6=True, ipam=ipam)
    routes = {
        f"routes/{network.id}": {"Prefix": "172.30.1.0/24", "Gateway": "192.0.2.1", "IPVSMethod": "tunnel"},
        f"routes/{network.id}-ipv6": {"Prefix": "fd00:8::/64", "IPVSMethod": "tunnel"},
    }
    wait_until(lambda: published.keys() == routes)
    network.remove()
    wait_until(lambda: not published.keys())


def test_check_of_a_label_is_published_with_the_backends_of_its_container_only(
    node: DockerNode, engine: Engine, published: Published
) -> None:
    other = engine.run(labels=labels("test"))
    container = engine.run(labels=labels("test theirs", health="http:/healthz"))
    check = {"type": "http", "path": "/healthz", "from": "label"}
    wait_until(lambda: len(published.keys()) == 3)
    assert {key: value.get("health") for key, value in published.keys().items()} == {
        path(container, "test"): check,
        path(container, "theirs"): check,
        path(other, "test"): None,
    }


def test_labels_are_kept_within_the_rules_of_the_node(
    node: DockerNode, engine: Engine, published: Published, tmp_path: Path
) -> None:
    elsewhere = Published(published.cluster)
    flags = ["--docker-services", "team-a-*", "--docker-services", "test", "--docker-max-weight", "50"]
    with DockerNode(tmp_path, engine.url, elsewhere, *flags) as ruled:
        ruled_labels = labels("team-a-x team-b-x test", backend_weight="65535", health="none")
        container = engine.run(labels=ruled_labels, name="greedy")
        backend = {
            "ipv4": engine.address(container),
            "tcp": 8080,
            "weight": 50,
            "health": {"from": "label"},
        }
        expected = {path(container, "team-a-x"): backend, path(container, "test"): backend}
        ruled.wait_for(lambda: elsewhere.keys() == expected)
        ruled.wait_for_log(r"docker: greedy: service: service team-b-x is not allowed \(--docker-services\)")
        ruled.wait_for_log(r"docker: greedy: backend\.weight: 65535 is more than --docker-max-weight, using 50")
        ruled.wait_for_log(
            r"docker: greedy: health\.type: none is not allowed \(--docker-label-checks\): checking by TCP"
        )
    published.wait_for(container, 65535)


def test_check_that_an_earlier_version_published_for_the_service_goes_when_its_backends_have_theirs(
    engine: Engine, published: Published, tmp_path: Path
) -> None:
    elsewhere = Published(published.cluster)
    flags = ["--etcd-ttl", "60"]  # the last one counts
    with DockerNode(tmp_path, engine.url, elsewhere, *flags) as node:
        container = engine.run(labels=labels(health="http:/healthz"))
        elsewhere.wait_for(container, 10)
        lease = published.cluster.ctl("lease", "list").split()[-1]
        node.crash()
        check, backend = f"/{elsewhere.prefix}/services/test/health", f"/{elsewhere.prefix}/{path(container)}"
        value = {key: field for key, field in elsewhere.values()[path(container)].items() if key != "health"}
        published.cluster.ctl("put", backend, json.dumps(value), "--lease", lease)
        published.cluster.ctl("put", check, '{"type":"http","path":"/healthz"}', "--lease", lease)
        node.start()
        wait_until(lambda: elsewhere.keys().keys() == {path(container)})
        written = elsewhere.revisions()[path(container)]
        assert elsewhere.values()[path(container)]["health"]["from"] == "label"
        history = published.cluster.ctl("get", check, "--rev", str(written.written - 1), "--print-value-only")
        assert history.strip(), "the check of the service was there until its backends had theirs"


def test_host_address_is_published_with_the_published_ports(
    node: DockerNode, engine: Engine, published: Published, tmp_path: Path
) -> None:
    ports = {"8080/tcp": ("0.0.0.0", 18080), "9090/tcp": ("127.0.0.1", 19090)}
    own = {"net.qmsk.clusterf.backend:local.tcp": "9090"}
    elsewhere = Published(published.cluster)
    flags = ["--docker-address", "host", "--host-address", "192.0.2.7"]
    with DockerNode(tmp_path, engine.url, elsewhere, *flags) as host:
        container = engine.run(MULTI, labels=labels("test local") | own, ports=ports)
        host.wait_for(lambda: elsewhere.keys() == {path(container): {"ipv4": "192.0.2.7", "tcp": 18080}})
        host.wait_for_log("port 9090/tcp is not published at a host address")
        container.stop(timeout=0)
        elsewhere.wait_for(container, 0)


def test_noop_logs_the_writes_and_publishes_nothing(
    node: DockerNode, engine: Engine, published: Published, tmp_path: Path
) -> None:
    elsewhere = Published(published.cluster)
    with DockerNode(tmp_path, engine.url, elsewhere, "--noop") as noop:
        container = engine.run(labels=labels(health="tcp"))
        key = f"/{elsewhere.prefix}/{path(container)}"
        value = (
            f'{{"ipv4":"{engine.address(container)}","tcp":8080,"publisher":"{NODE_NAME}","health":{{"from":"label"}}}}'
        )
        noop.wait_for_log(f"^etcd noop: etcdctl put {key} '{value}'$")
        container.remove(force=True)
        noop.wait_for_log(f"^etcd noop: etcdctl del {key}$")
    assert elsewhere.keys() == {}
    assert not (tmp_path / "state/docker.db").exists()


def test_process_has_the_capability_to_read_files_only(node: DockerNode) -> None:
    children = node.children()
    assert children.keys() == {"docker"}
    status = Path(f"/proc/{children['docker']}/status").read_text()
    assert "CapEff:\t0000000000000004\n" in status
    assert "NoNewPrivs:\t1\n" in status
