"""Much at once: 5,000 services, and 1,000 backends that move to another gateway."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clusterf.ipvs.netlink.client import open_kernel
from tests.system.support.netns import network_namespace
from tests.system.support.node import Node, Tree, saved
from tests.waiting import wait_until

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600)]

SERVICES = 5000
LONG = 240.0  # seconds; a quarter of a minute on a machine that does nothing else
POOLS, POOL = 100, 10  # services behind a gateway, and the backends of each


def vip(number: int) -> str:
    return f"10.{107 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"


def test_five_thousand_services_at_once_are_written_exactly_and_once(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    table = []
    for number in range(SERVICES):
        tree.service(f"s{number}", {"ipv4": vip(number), "tcp": 80}, b={"ipv4": "10.3.0.1", "tcp": 80})
        table += [f"-A -t {vip(number)}:80 -s wlc", f"-a -t {vip(number)}:80 -r 10.3.0.1:80 -m -w 10"]
    with network_namespace(), Node(tmp_path, tree) as node:
        wait_until(lambda: node.tables and len(node.tables[-1]) == len(table), LONG)
        assert saved() == sorted(table)
        assert node.stop() == 0
        node.start()
        wait_until(lambda: node.tables, LONG)
        assert node.tables[-1] == sorted(table)
        assert node.operations == []


@contextmanager
def least_weight() -> Iterator[list[int]]:
    """Collect the least weight that a virtual server has in each sample of the table, until the `with` ends."""
    found: list[int] = []
    enough = threading.Event()
    kernel = open_kernel()

    def sample() -> None:
        while not enough.is_set():
            table = kernel.read()
            found.append(min(sum(real.weight for real in reals.values()) for reals in table.reals.values()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        enough.set()
        thread.join()
        kernel.close()


def test_pools_have_weight_while_a_thousand_backends_move_to_another_gateway(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    for number in range(POOLS):
        backends = {f"b{n}": {"ipv4": f"10.3.{number}.{n}", "tcp": 8080, "weight": 1} for n in range(POOL)}
        tree.service(f"s{number}", {"ipv4": vip(number), "tcp": 80, "drain_timeout": 0}, **backends)

    def through(gateway: str) -> list[str]:
        tree.put("routes/all", {"Prefix": "10.3.0.0/16", "Gateway": gateway, "IPVSMethod": "masq"})
        virtuals = [f"-A -t {vip(number)}:80 -s wlc" for number in range(POOLS)]
        return virtuals + [f"-a -t {vip(number)}:80 -r {gateway}:80 -m -w {POOL}" for number in range(POOLS)]

    with network_namespace():
        first = through("10.4.0.1")
        with Node(tmp_path, tree) as node:
            node.wait_for_table(first)
            with least_weight() as samples:
                node.wait_for_table(through("10.4.0.2"))
                node.wait_for_table(through("10.4.0.1"))
            assert min(samples) >= POOL
            assert len(samples) > 5
