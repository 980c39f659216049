"""Many services, and many edits at once: the table is exact."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.support.netns import network_namespace
from tests.system.support.node import Node, Tree, replayed, saved

pytestmark = pytest.mark.ipvs

SERVICES = [f"s{number}" for number in range(200)]
BACKENDS = [f"b{number}" for number in range(20)]
EDITS = 500


class Mirror:
    """Writes a configuration, and says what table it makes."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.frontends: dict[str, int] = {}
        self.backends: dict[tuple[str, str], tuple[int, int]] = {}

    def frontend(self, service: str, variant: int = 0) -> None:
        self.frontends[service] = variant
        self.tree.put(f"services/{service}/frontend", {**self._vips(service), "scheduler": self._scheduler(service)})

    def backend(self, service: str, backend: str, weight: int = 10, port: int = 80) -> None:
        self.backends[service, backend] = weight, port
        value = {"ipv4": self._real(backend), "tcp": port, "udp": port, "weight": weight}
        self.tree.put(f"services/{service}/backends/{backend}", value)

    def remove_frontend(self, service: str) -> None:
        del self.frontends[service]
        self.tree.remove(f"services/{service}/frontend")

    def remove_backend(self, service: str, backend: str) -> None:
        del self.backends[service, backend]
        self.tree.remove(f"services/{service}/backends/{backend}")

    def table(self) -> list[str]:
        lines = [f"-A {self._virtual(service)} -s {self._scheduler(service)}" for service in self.frontends]
        lines += [
            f"-a {self._virtual(service)} -r {self._real(backend)}:{port} -m -w {weight}"
            for (service, backend), (weight, port) in self.backends.items()
            if service in self.frontends
        ]
        return sorted(lines)

    def _vips(self, service: str) -> dict[str, object]:
        number, variant = int(service[1:]), self.frontends[service]
        return {"ipv4": f"10.107.{variant // 2}.{number}", ("tcp", "udp")[number % 2]: 80}

    def _virtual(self, service: str) -> str:
        vips = self._vips(service)
        return f"{'-t' if 'tcp' in vips else '-u'} {vips['ipv4']}:80"

    def _scheduler(self, service: str) -> str:
        return ("wlc", "rr")[self.frontends[service] % 2]

    @staticmethod
    def _real(backend: str) -> str:
        return f"10.3.0.{int(backend[1:]) + 1}"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Mirror]]:
    folder: Path = tmp_path_factory.mktemp("large")
    mirror = Mirror(Tree(folder / "tree"))
    for service in SERVICES:
        mirror.frontend(service)
        for backend in BACKENDS:
            mirror.backend(service, backend)
    with network_namespace(), Node(folder, mirror.tree) as node:
        yield node, mirror


def edit(mirror: Mirror, choose: random.Random) -> None:
    """Make one random edit."""
    service, backend = choose.choice(SERVICES), choose.choice(BACKENDS)
    kind = choose.random()
    if kind < 0.1 and service in mirror.frontends:
        mirror.remove_frontend(service)
    elif kind < 0.3:
        mirror.frontend(service, choose.randrange(6))
    elif kind < 0.5 and (service, backend) in mirror.backends:
        mirror.remove_backend(service, backend)
    else:
        mirror.backend(service, backend, choose.randrange(100), choose.choice([80, 80, 81]))


def test_large_configuration_is_written_exactly(large: tuple[Node, Mirror]) -> None:
    node, mirror = large

    node.wait_for_table(mirror.table())

    assert len(mirror.table()) == len(SERVICES) * (1 + len(BACKENDS))
    assert replayed(node.operations) == mirror.table()


def test_burst_of_random_edits_is_written_exactly(large: tuple[Node, Mirror]) -> None:
    node, mirror = large
    node.wait_for_table(mirror.table())
    before = saved()
    node.forget()

    choose = random.Random(11)
    for _ in range(EDITS):
        edit(mirror, choose)

    node.wait_for_table(mirror.table())
    assert replayed([*before, *node.operations]) == mirror.table()


def test_restart_with_a_large_configuration_writes_nothing(large: tuple[Node, Mirror]) -> None:
    node, mirror = large
    node.wait_for_table(mirror.table())

    assert node.stop() == 0
    node.start()

    node.wait_for_table(mirror.table())
    assert node.operations == []
