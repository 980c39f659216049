"""The whole chain in one kernel: containers of a real engine, etcd, a node with both roles, IPVS, and a client.

    client ── host of the engine ─┬─ container
              (VIP, IPVS, node,   └─ container
               etcd)

The test itself, and whatever it starts, is in the network of the engine; the
client has one of its own. Containers answer through their host, as forwarding
by masquerading needs it.
"""

import contextlib
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from docker.models.containers import Container

from tests.lab.docker import Engine
from tests.lab.etcd import EtcdCluster
from tests.lab.images import GRACEFUL
from tests.system.support.dataplane import VIPS, Client, cable, ip, make_router, namespace
from tests.system.support.docker_node import Published, labels, path
from tests.system.support.node import Node, ipvsadm, saved
from tests.waiting import wait_until

pytestmark = pytest.mark.ipvs

VIP = VIPS["ipv4"]
SOON = 1.0  # seconds from the engine's answer to the kernel's table; most go by in this test's own processes
TTL = 4  # seconds
LONGER = ("--etcd-ttl", "60")  # than a node takes to start in the lab's kernel
QUICK = '{"type": "http", "path": "/healthz", "interval": 0.5, "fast_interval": 0.2}'
PAGES = ["sh", "-c", "echo well >/www/healthz; exec serve 8080"]  # one that has what a check asks for


class Host(NamedTuple):
    """The engine's host: what runs there, and a client elsewhere."""

    engine: Engine
    published: Published
    node: Node
    client: Client

    def run(self, service: str, *command: str, image: str = GRACEFUL, **more: str) -> Container:
        """Start a container that backs a service."""
        return self.engine.run(image, *command, labels=labels(service, **more), environment={"GRACE": "3"})

    def wait_for(self, weights: dict[Container, int], service: str = "web") -> None:
        """Wait until the real servers of a service are these, with these weights."""
        expected = {self.engine.address(container): weight for container, weight in weights.items()}
        self.node.wait_for(lambda: reals(service) == expected)


PORTS = {"web": 80, "checked": 81}


def reals(service: str = "web") -> dict[str, int]:
    """Return the weights of a service's real servers in the kernel, by address."""
    pattern = rf"-a -t {VIP}:{PORTS[service]} -r (\S+):8080 -m -w (\d+)"
    return {found[1]: int(found[2]) for found in (re.fullmatch(pattern, line) for line in saved()) if found}


def connections(address: str) -> int:
    """Return how many connections to a real server are established."""
    found = re.search(rf"-> {address}:8080 +Masq +\d+ +(\d+) ", ipvsadm("-Ln"))
    return int(found[1]) if found else 0


def named(*containers: Container) -> list[str]:
    """Return what containers answer."""
    return [f"{container.id[:12]}\n" for container in containers]


@pytest.fixture(scope="module")
def client(running_engine: Engine) -> Iterator[Client]:
    """A client beside the engine's host, to which this thread moves; what it starts is there too."""
    name = f"clusterf-{os.getpid()}-engine"
    with running_engine.network(), namespace("client") as end:
        ip(f"netns attach {name} {os.getpid()}")
        try:
            cable(name, end, "client", 0)
            make_router(name)
            yield Client(end)
        finally:
            ip(f"netns del {name}")


@pytest.fixture(scope="module")
def running_host(tmp_path_factory: pytest.TempPathFactory, running_engine: Engine, client: Client) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with EtcdCluster(folder / "etcd") as cluster:
        published = Published(cluster)
        for service, port in PORTS.items():
            published.put(f"services/{service}/frontend", {"ipv4": VIP, "tcp": port, "scheduler": "wrr"})
        flags = ["--role", "docker", "--docker-endpoint", running_engine.url, "--etcd-ttl", str(TTL)]
        flags += ["--config-source", published.url]
        with Node(folder, flags=flags) as node:
            node.wait_for_log(r"connected \(API version")
            yield Host(running_engine, published, node, client)


@pytest.fixture
def host(running_host: Host, engine: Engine) -> Iterator[Host]:
    """The host, whose engine has no containers yet."""
    running_host.node.wait_for_kernel([f"-A -t {VIP}:{port} -s wrr" for port in PORTS.values()])
    running_host.node.forget()
    with running_host.node.explained():
        yield running_host
    engine.clear()


def test_stop_signal_counts_while_the_clock_is_set_back(host: Host) -> None:
    container = host.run("web")
    host.wait_for({container: 10})
    offset = time.time() - time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, time.time() - 3600)
    try:
        container.kill(signal="TERM")
        host.wait_for({container: 0})
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + offset)


def test_containers_become_real_servers_within_a_second_and_share_the_requests(host: Host) -> None:
    one = host.run("web")
    began = time.monotonic()
    host.wait_for({one: 10})
    assert time.monotonic() - began < SOON
    other = host.run("web", backend_weight="30")
    host.wait_for({one: 10, other: 30})
    for container in (one, other):
        assert host.engine.fetch(host.engine.address(container))  # until it serves
    once, thrice = named(one, other)
    assert Counter(host.client.get(VIP) for _ in range(8)) == {once: 2, thrice: 6}


def test_stopping_container_finishes_its_requests_and_gets_no_new_ones(host: Host) -> None:
    leaving, staying = host.run("web"), host.run("web")
    address = host.engine.address(leaving)
    host.wait_for({leaving: 10, staying: 10})
    for container in (leaving, staying):
        assert host.engine.fetch(host.engine.address(container))
    over, visits = threading.Event(), []

    def visit() -> None:
        while not over.is_set():
            visits.append((time.monotonic(), host.client.get(VIP)))

    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as stack:
        stack.callback(over.set)
        under_way = [pool.submit(host.client.get, VIP, "/cgi-bin/slow?1.5") for _ in range(2)]  # one for each
        wait_until(lambda: connections(address) == 1)
        visitor = pool.submit(visit)
        wait_until(lambda: {answer for _, answer in visits} == set(named(leaving, staying)))

        stopping = pool.submit(leaving.stop, timeout=30)
        host.wait_for({leaving: 0, staying: 10})
        drained = time.monotonic()
        assert host.engine.answers(address)  # it still serves who is there
        assert not any(request.done() for request in under_way)
        assert sorted(request.result() for request in under_way) == sorted(named(leaving, staying))
        assert not stopping.done()

        stopping.result()
        ended = time.monotonic()
        assert reals()[address] == 0
        leaving.remove()
        host.node.wait_for(lambda: reals() == {host.engine.address(staying): 10})
        over.set()
        visitor.result()
    assert {answer for began, answer in visits if began > drained} == set(named(staying))
    assert len([began for began, _ in visits if drained < began < ended]) > 5


def test_container_gets_weight_when_the_check_of_its_label_passes(host: Host) -> None:
    broken = host.run("checked", health="http:/healthz")
    well = host.run("checked", *PAGES, health="http:/healthz")
    host.wait_for({broken: 0, well: 10}, "checked")
    address = host.engine.address(broken)
    assert host.engine.answers(address)  # though not what is asked for, as often as of the other one
    operations = [line for line in host.node.operations if f" -r {address}:" in line]
    assert [line.rpartition(" ")[2] for line in operations] == ["0"], host.node.log

    broken.exec_run(["touch", "/www/healthz"])
    host.wait_for({broken: 10, well: 10}, "checked")


def test_check_of_a_label_that_nobody_passes_takes_weight_from_its_own_container_only(host: Host) -> None:
    well = host.run("web")
    host.wait_for({well: 10})
    hostile = host.run("web", health='{"type": "http", "path": "/no/such", "interval": 0.5, "fast_interval": 0.2}')
    host.wait_for({well: 10, hostile: 0})
    host.node.wait_for_log(r"is down: HTTP 404")
    assert reals("web")[host.engine.address(well)] == 10
    operations = [line for line in host.node.operations if f" -r {host.engine.address(well)}:" in line]
    assert [line.rpartition(" ")[2] for line in operations] == ["10"], host.node.log


def test_killed_node_leaves_the_table_and_for_the_ttl_its_keys(host: Host) -> None:
    plain, checked = host.run("web"), host.run("checked", *PAGES, health=QUICK)
    host.wait_for({plain: 10})
    host.wait_for({checked: 10}, "checked")
    table = saved()

    kill(host.node)
    killed = time.monotonic()
    frontends = {f"services/{service}/frontend" for service in PORTS}
    wait_until(lambda: host.published.keys().keys() == frontends)
    assert TTL / 2 < time.monotonic() - killed < TTL + 2
    assert saved() == table
    assert host.client.get(VIP) == named(plain)[0]

    host.node.start(*LONGER)
    host.node.wait_for_log(r"connected \(API version")
    host.node.wait_for(lambda: host.node.tables[-1:] == [table] == [saved()])
    before = host.published.revisions()
    assert before.keys() - frontends == {path(plain, "web"), path(checked, "checked")}

    kill(host.node)
    assert saved() == table
    host.node.start(*LONGER)
    host.node.wait_for_table(table)
    marker = host.run("marker")  # shows that the earlier events have been processed
    wait_until(lambda: host.published.weight(marker, "marker") == 10)
    marker.remove(force=True)
    wait_until(lambda: host.published.weight(marker, "marker") is None)
    assert host.published.revisions() == before
    assert host.node.operations == []
    assert saved() == table


def kill(node: Node) -> None:
    """Kill all processes of a node at once, so that none can do a thing about it."""
    node.send(signal.SIGSTOP)
    node.kill(*node.children())
    node.crash()
