"""One changed file, in a small and a large configuration: two nodes with `--noop`, changed in turn."""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.bench.nodes import Memory, Node, command, running
from tests.bench.trees import WEIGHT, Shape

__all__ = ["Changes", "cpu_rates", "measure"]

WARM_UP = 5  # changes that are not measured
IDLE = 3.0  # seconds without changes, for the idle cost


class Changes(msgspec.Struct, frozen=True):
    """What was measured at one node. Times are in seconds."""

    shape: Shape
    latencies: list[float]
    cpu: float  # seconds per change, above the idle rate
    idle: float  # CPU seconds per second without changes
    memory: dict[str, Memory]


def measure(shapes: tuple[Shape, Shape], count: int) -> list[Changes]:
    """Change nodes of both shapes `count` times, in turn, so that other load on the machine affects both."""
    with _subject(shapes[0]) as small, _subject(shapes[1]) as large:
        subjects = (small, large)
        # at first nodes scan their trees a few times, then they only wait for events
        _change_in_turn(subjects, WARM_UP)
        for subject in subjects:
            subject.latencies.clear()
        nodes = [subject.node for subject in subjects]
        idle = cpu_rates(nodes, lambda: time.sleep(IDLE))
        began = time.perf_counter()
        busy = cpu_rates(nodes, lambda: _change_in_turn(subjects, count))
        took = time.perf_counter() - began
        return [
            Changes(subject.shape, subject.latencies, (rate - rest) * took / count, rest, subject.node.memory())
            for subject, rate, rest in zip(subjects, busy, idle, strict=True)
        ]


class _Subject:
    """A node on a tree whose backends are changed."""

    def __init__(self, shape: Shape, tree: Path, node: Node) -> None:
        self.shape = shape
        self.node = node
        self.latencies: list[float] = []
        self._tree = tree
        self._random = random.Random(shape.services)
        self._weight = WEIGHT

    def change(self) -> None:
        """Give a backend a new weight, and wait until the operation is logged."""
        service = self._random.randrange(self.shape.services)
        backend = self._random.randrange(self.shape.backends)
        self._weight += 1
        began = time.perf_counter()
        operation = self.shape.change(self._tree, service, backend, self._weight)
        self.latencies.append(self.node.log.wait_for(operation) - began)


@contextmanager
def _subject(shape: Shape) -> Iterator[_Subject]:
    """Start a node, and wait until it has applied its configuration."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        directory = Path(name)
        tree = directory / "tree"
        shape.write(tree)
        with running(command(tree.as_uri(), directory, "--noop")) as node:
            for _ in range(shape.operations):
                node.log.wait_for("ipvs noop: ipvsadm ")
            yield _Subject(shape, tree, node)


def _change_in_turn(subjects: tuple[_Subject, ...], count: int) -> None:
    for _ in range(count):
        for subject in subjects:
            subject.change()


def cpu_rates(nodes: Sequence[Node], work: Callable[[], None]) -> list[float]:
    """Return the CPU seconds that each node uses per second of `work`."""
    before = [node.cpu() for node in nodes]
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    after = [node.cpu() for node in nodes]
    return [(end - start) / took for start, end in zip(before, after, strict=True)]
