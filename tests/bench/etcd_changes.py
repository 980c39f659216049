"""The latency of one put to etcd: to a node's operation, and to the event at `etcdctl watch`."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from clusterf.etcd.client import Client
from tests.bench.changes import IDLE, cpu_rates
from tests.bench.etcd_source import Prefix, bare_watch
from tests.bench.nodes import Lines, Memory, Node, command, running
from tests.bench.trees import WEIGHT, Shape

__all__ = ["EtcdChanges", "measure"]

WARM_UP = 20  # changes that are not measured
LONGEST_PAUSE = 0.01  # seconds between changes: random pauses, so that no timer falls into step with them


class EtcdChanges(msgspec.Struct, frozen=True):
    """What was measured at one node. Times are in seconds, from before the put."""

    shape: Shape
    latencies: list[float]  # to the operation
    bare: list[float]  # to the event, of the same puts
    cpu: float  # seconds per change, above the idle rate
    idle: float  # CPU seconds per second without changes
    memory: dict[str, Memory]


def measure(prefixes: Sequence[Prefix], shapes: Sequence[Shape], count: int, place: Path) -> list[EtcdChanges]:
    """Change nodes of all shapes `count` times, in turn."""
    with ExitStack() as stack:
        subjects = [
            stack.enter_context(_subject(prefix, shape, place / prefix.name))
            for prefix, shape in zip(prefixes, shapes, strict=True)
        ]
        _change_in_turn(subjects, WARM_UP)
        for subject in subjects:
            subject.forget()
        nodes = [subject.node for subject in subjects]
        idle = cpu_rates(nodes, lambda: time.sleep(IDLE))
        began = time.perf_counter()
        busy = cpu_rates(nodes, lambda: _change_in_turn(subjects, count))
        took = time.perf_counter() - began
        return [
            subject.result((rate - rest) * took / count, rest)
            for subject, rate, rest in zip(subjects, busy, idle, strict=True)
        ]


class _Subject:
    """A node and a bare watch on a prefix whose backends are changed."""

    def __init__(self, shape: Shape, node: Node, watch: Lines, client: Client) -> None:
        self.node = node
        self._shape = shape
        self._watch = watch
        self._client = client
        self._latencies: list[float] = []
        self._bare: list[float] = []
        self._random = random.Random(shape.services)
        self._weight = WEIGHT

    def change(self) -> None:
        """Give a backend a new weight, and wait until the node and the watch have it."""
        at = self._random.randrange(self._shape.services), self._random.randrange(self._shape.backends)
        self._weight += 1
        value = self._shape.value(*at, self._weight)
        began = time.perf_counter()
        self._client.transact([(self._shape.path(*at).encode(), value.encode())], [])
        self._latencies.append(self.node.log.wait_for(self._shape.operation(*at, self._weight)) - began)
        self._bare.append(self._watch.wait_for(value) - began)
        time.sleep(self._random.uniform(0, LONGEST_PAUSE))

    def forget(self) -> None:
        """Discard what was measured."""
        self._latencies.clear()
        self._bare.clear()

    def result(self, cpu: float, idle: float) -> EtcdChanges:
        """Return the measurements, with the CPU times."""
        return EtcdChanges(self._shape, self._latencies, self._bare, cpu, idle, self.node.memory())


@contextmanager
def _subject(prefix: Prefix, shape: Shape, place: Path) -> Iterator[_Subject]:
    """Start a node, and wait until it has applied its configuration."""
    revision = prefix.fill(shape)
    with running(command(prefix.url, place, "--noop")) as node:
        for _ in range(shape.operations):
            node.log.wait_for("ipvs noop: ipvsadm ")
        with bare_watch(prefix, revision + 1) as watch, prefix.client() as client:
            yield _Subject(shape, node, watch, client)


def _change_in_turn(subjects: Sequence[_Subject], count: int) -> None:
    for _ in range(count):
        for subject in subjects:
            subject.change()
