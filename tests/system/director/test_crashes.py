"""Children killed while the configuration changes: forwarding continues, and the table becomes exact."""

import contextlib
import itertools
import os
import random
import signal
import threading
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Self

import pytest

from clusterf.ipvs.netlink.client import NetlinkIpvs, open_kernel
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, VirtualServer
from clusterf.lib.addresses import Family, Protocol
from tests.system.support.node import Node, Tree, saved

pytestmark = pytest.mark.ipvs

SERVICES = [f"10.107.1.{number}" for number in range(1, 26)]
STABLE = [f"10.3.1.{number}" for number in range(1, 9)]
CHANGING = [f"10.3.2.{number}" for number in range(1, 6)]
CHANGES = 1000
KILLS = [("director",), ("config",), ("config", "director"), ("director",), ("config",), ("health", "director")]

Configuration = dict[tuple[str, str], int]
"""The weight of each backend, by the VIP of its service and its own address."""


class Watch(threading.Thread):
    """Looks at the kernel's table all the while, and notes each real server that should be there and is not so."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.wrong: list[str] = []
        self.rounds = 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        kernel = open_kernel()
        while not self._over.is_set():
            for vip in SERVICES:
                self._look(kernel, vip)
                self._over.wait(0.002)  # leaves the one processor to the node
            self.rounds += 1
        kernel.close()

    def _look(self, kernel: NetlinkIpvs, vip: str) -> None:
        found = kernel.read_virtual(VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address(vip), 80))
        reals: Mapping[RealServer, RealServerSettings] = found[1] if found else {}
        for address in STABLE:
            settings = reals.get(RealServer(IPv4Address(address), 80))
            if settings != RealServerSettings(Method.MASQ, 10):
                self.wrong.append(f"{vip}: {address}: {settings}")


def lines(configuration: Configuration) -> list[str]:
    virtual = [f"-A -t {vip}:80 -s wlc" for vip in SERVICES]
    return sorted(
        virtual + [f"-a -t {vip}:80 -r {address}:80 -m -w {w}" for (vip, address), w in configuration.items()]
    )


def write(tree: Tree, vip: str, address: str, weight: int) -> None:
    tree.put(f"services/{vip}/backends/{address}", {"ipv4": address, "tcp": 80, "weight": weight})


def changes(tree: Tree, configuration: Configuration) -> Iterator[int]:
    """Add, edit and remove backends at random, one at a time."""
    choose = random.Random(7)
    for number in range(CHANGES):
        place = choose.choice(SERVICES), choose.choice(CHANGING)
        if place in configuration and choose.random() < 0.4:
            tree.remove(f"services/{place[0]}/backends/{place[1]}")
            del configuration[place]
        else:
            configuration[place] = number % 500
            write(tree, *place, configuration[place])
        yield number


@pytest.fixture
def configuration(tree: Tree) -> Configuration:
    """The weights that are in the tree at the start."""
    for vip in SERVICES:
        tree.put(f"services/{vip}/frontend", {"ipv4": vip, "tcp": 80})
    weights = dict.fromkeys(itertools.product(SERVICES, STABLE), 10)
    for (vip, address), weight in weights.items():
        write(tree, vip, address, weight)
    return weights


def kill_at_work(node: Node, killed: tuple[str, ...], watch: Watch, written: int) -> int:
    """Kill children once the node has written more operations than so many; return how many those are then.

    They are restarted after some time.
    """
    node.wait_for(lambda: len(node.operations) > written)
    node.kill(*killed)
    rounds = watch.rounds
    node.wait_for(lambda: watch.rounds >= rounds + 2)
    return len(node.operations)


def test_children_killed_during_a_burst_of_changes_do_not_change_the_result(
    node: Node, tree: Tree, configuration: Configuration
) -> None:
    with node:
        node.wait_for_table(lines(configuration))
        written = len(node.operations)
        with Watch() as watch:
            kills = iter(KILLS)
            for number in changes(tree, configuration):
                if number % (CHANGES // len(KILLS)) == 80:
                    written = kill_at_work(node, next(kills), watch, written)
            node.wait_for(lambda: node.children().keys() == {"config", "health", "director"})
            node.wait_for_table(lines(configuration))

        assert watch.wrong == []
        assert watch.rounds > 20
        assert node.log.count("killed by SIGKILL") == sum(map(len, KILLS))


@pytest.mark.parametrize(
    "killed", [("director",), ("config",), ("health",), ("config", "health", "director")], ids="+".join
)
def test_children_killed_while_nothing_changes_are_restarted_and_write_nothing(
    live: tuple[Node, Tree], killed: tuple[str, ...]
) -> None:
    node, tree = live
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, b={"ipv4": "10.3.0.1", "tcp": 80})
    node.wait_for_table("-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10")
    before = saved()
    node.forget()
    pids = node.children()

    node.kill(*killed)
    node.wait_for(lambda: all(node.children().get(name, pids[name]) != pids[name] for name in killed))

    # they have all that was there before when they do what comes after
    tree.put("services/web/backends/b2", {"ipv4": "10.3.0.2", "tcp": 80})
    added = "-a -t 10.1.0.1:80 -r 10.3.0.2:80 -m -w 10"
    node.wait_for_table([*before, added])
    assert node.operations == [f"ipvsadm {added}"]


def test_removals_take_effect_that_happened_while_the_config_process_was_down(live: tuple[Node, Tree]) -> None:
    node, tree = live
    backends = {f"b{n}": {"ipv4": f"10.3.0.{n}", "tcp": 80} for n in (1, 2)}
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, **backends)
    tree.service("api", {"ipv4": "10.1.0.2", "tcp": 80}, **backends)
    node.wait_for(lambda: len(node.tables[-1]) == 6)

    node.kill("config")
    tree.remove("services/api")
    tree.remove("services/web/backends/b2")

    node.wait_for_table("-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10")


def test_node_gives_up_on_a_child_that_keeps_crashing_and_the_table_stays(node: Node, tree: Tree) -> None:
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80})
    node.start()
    node.wait_for(lambda: node.tables)
    before = saved()

    while node.running:
        for pid in node.children().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    assert node.wait() == 1
    assert "giving up: 11 exits of processes within 60 seconds" in node.log
    assert saved() == before != []
