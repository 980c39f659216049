"""What a director does when leases end: all together, as etcd was frozen, or one, as its host has died."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import create_server, socket
from typing import Any

import pykka
import pytest

from actors.docker.key_publisher import PublishOnly
from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_config import EtcdNode, etcd_node
from tests.system.support.publisher import keys_in, publisher
from tests.waiting import wait_until

TTL = 3  # seconds
FRONTEND = "-A -t 10.107.0.1:80 -s wlc"
HELD = r"leases ended at once: the removal of their \d+ keys is held for \d+ seconds"
ENDED = "removals by the end of leases are no longer held: {} keys are back, {} are removed"


class World:
    """A service with two backends, each on the lease of a publisher of its own, and a node that probes them."""

    def __init__(self, cluster: EtcdCluster, node: EtcdNode, servers: list[socket]) -> None:
        self.cluster = cluster
        self.node = node
        self.servers = servers
        self.ports = [server.getsockname()[1] for server in servers]
        self.publishers: list[pykka.ActorRef[Any]] = []

    def table(self, weights: dict[int, int]) -> list[str]:
        """Return the table that has these backends, by number, with these weights."""
        ports = {number: self.ports[number] for number in weights}
        return sorted(
            [FRONTEND, *(f"-a -t 10.107.0.1:80 -r 127.0.0.1:{ports[n]} -m -w {w}" for n, w in weights.items())]
        )

    def wait_for(self, weights: dict[int, int]) -> None:
        """Wait until the node prints that table."""
        self.node.wait_for(lambda: self.node.tables[-1:] == [self.table(weights)])

    def leave(self, *numbers: int) -> None:
        """Have publishers end, as if their host had died: they leave their leases behind."""
        for number in numbers:
            self.publishers[number].stop(timeout=20)


@pytest.fixture
def world(doomed: EtcdCluster, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        doomed.ctl("put", "/clusterf/services/web/frontend", '{"ipv4": "10.107.0.1", "tcp": 80}')
        check = {"type": "tcp", "interval": 0.5, "fast_interval": 0.2, "timeout": 0.5}
        doomed.ctl("put", "/clusterf/services/web/health", json.dumps(check))
        servers = [stack.enter_context(create_server(("127.0.0.1", 0), backlog=1024)) for _ in range(2)]
        node = etcd_node(tmp_path / "node", doomed.url(), flags=["--health-allow", "127.0.0.0/8"])
        world = World(doomed, node, servers)
        for number, port in enumerate(world.ports):
            world.publishers.append(stack.enter_context(published(doomed, number, port)))
        stack.enter_context(node)
        world.wait_for({0: 10, 1: 10})
        node.forget()
        yield world


@contextmanager
def published(cluster: EtcdCluster, number: int, port: int) -> Iterator[pykka.ActorRef[Any]]:
    """Run a publisher of one backend, as another container host would."""
    backend = {"ipv4": "127.0.0.1", "tcp": port, "publisher": f"docker{number}"}
    with publisher(cluster, ttl=TTL) as ref:
        ref.tell(PublishOnly({path(number): json.dumps(backend).encode()}))
        wait_until(lambda: path(number) in keys_in(cluster))
        yield ref


def path(number: int) -> bytes:
    return b"services/web/backends/b%d" % number


def created(cluster: EtcdCluster) -> list[int]:
    """Return since which revision each backend has been there without a break."""
    reply = json.loads(cluster.ctl("get", "--prefix", "/clusterf/services/web/backends/", "-w", "json"))
    return [kv["create_revision"] for kv in reply.get("kvs", ())]


def test_no_real_server_goes_when_etcd_was_frozen_for_longer_than_the_ttl(world: World) -> None:
    before = max(created(world.cluster))
    world.cluster.members[0].freeze()
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 2 * TTL)
    world.cluster.members[0].thaw()
    wait_until(lambda: len(now := created(world.cluster)) == 2 and min(now) > before, 20)
    # and nothing comes of it later
    world.cluster.ctl("put", "/clusterf/services/web/backends/last", '{"ipv4": "127.0.0.1", "tcp": 1, "weight": 0}')
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 2 * TTL + 1)
    assert world.node.deletions == []
    assert [operation for operation in world.node.operations if "-w 0" in operation] == [
        "ipvsadm -a -t 10.107.0.1:80 -r 127.0.0.1:1 -m -w 0"
    ]


def test_backends_of_a_single_host_that_dies_go_after_its_ttl(world: World) -> None:
    began = time.monotonic()
    world.leave(1)
    world.wait_for({0: 10})
    assert time.monotonic() - began < TTL + 4
    assert "held" not in world.node.log


def test_backends_of_all_hosts_that_die_are_probed_until_they_go(world: World) -> None:
    world.servers[1].close()
    world.wait_for({0: 10, 1: 0})
    world.leave(0, 1)
    world.node.wait_for_log(HELD)
    world.servers[0].close()
    world.wait_for({0: 0, 1: 0})
    assert world.node.deletions == []
    world.wait_for({})
    world.node.wait_for_log(ENDED.format(0, 2))


def test_removals_are_held_on_when_the_config_process_restarts(world: World) -> None:
    world.leave(0, 1)
    world.node.wait_for_log(HELD)
    world.node.kill("config")
    world.node.wait_for_log("the removal of 1 keys of a lease that ended is held for .* as before the start", 2)
    assert world.node.deletions == []
    world.node.wait_for_log(ENDED.format(0, 2))
    world.wait_for({})


def test_removals_are_held_on_when_the_director_restarts(world: World) -> None:
    world.leave(0, 1)
    world.node.wait_for_log(HELD)
    tables = len(world.node.tables)
    world.node.kill("director")
    # (its shadow begins empty)
    world.node.wait_for(lambda: world.table({0: 10, 1: 10}) in world.node.tables[tables:])
    assert ENDED.format(0, 2) not in world.node.log
    world.wait_for({})


def test_confirmation_ends_the_hold(world: World) -> None:
    world.leave(0, 1)
    world.node.wait_for_log(HELD)
    began = time.monotonic()
    world.node.send(signal.SIGUSR2)
    world.wait_for({})
    assert time.monotonic() - began < TTL
