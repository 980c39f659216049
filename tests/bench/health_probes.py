"""The cost and the punctuality of probes: a node's health process, and HAProxy, on the same targets.

Each has one core, and all else has the others: the targets, the benchmark. The
kernel does both ends of a loopback connection on the core of who opens it.
"""

import csv
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import msgspec

from tests.bench import rivals
from tests.bench.figures import percentile
from tests.bench.fleets import Fleet
from tests.bench.health_server import serving
from tests.bench.health_watch import connects, lags, observer, watch
from tests.bench.nodes import command, cpu_of, running
from tests.system.support.netns import network_namespace
from tests.waiting import wait_until

__all__ = ["Probing", "measure"]

PATIENCE = 60.0  # seconds until all targets are up
ROUNDS = 6  # measured intervals
CORES = sorted(os.sched_getaffinity(0))
FIRST, OTHERS = set(CORES[:1]), set(CORES[1:] or CORES)

Prober = Callable[[Fleet, Path], AbstractContextManager[int]]


class Probing(msgspec.Struct, frozen=True):
    """The results of one program. Times are in seconds."""

    program: str
    fleet: Fleet
    probes: int
    cpu: float  # seconds per probe
    lag: dict[int, float]  # behind the schedule, by percentile

    @property
    def made(self) -> float:
        """The share of the scheduled probes."""
        return self.probes / (ROUNDS * self.fleet.targets)


def measure(fleets: Iterable[Fleet]) -> list[Probing]:
    """Measure both programs with each fleet, in turn."""
    with network_namespace(), _on_cores(OTHERS), serving():
        return [_measure(name, prober, fleet) for fleet in fleets for name, prober in PROBERS.items()]


def _measure(name: str, prober: Prober, fleet: Fleet) -> Probing:
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as directory,
        prober(fleet, Path(directory)) as pid,
        observer() as packets,
    ):
        time.sleep(fleet.interval)  # after the work of the start
        cpu, before = cpu_of(pid), connects()
        seen = watch(packets, ROUNDS * fleet.interval)
        cpu, probes = cpu_of(pid) - cpu, connects() - before
    late = lags(seen, fleet.interval)
    return Probing(name, fleet, probes, cpu / probes, {percent: percentile(late, percent) for percent in (50, 99, 100)})


@contextmanager
def _node(fleet: Fleet, directory: Path) -> Iterator[int]:
    tree = directory / "tree"
    fleet.write_tree(tree)
    with ExitStack() as stack:
        with _on_cores(FIRST):
            node = stack.enter_context(running(command(tree.as_uri(), directory, "--noop")))
        for _ in range(fleet.targets):
            node.log.wait_for(" is up (")
        yield node.process("health")


@contextmanager
def _haproxy(fleet: Fleet, directory: Path) -> Iterator[int]:
    stats = directory / "stats"
    configuration = directory / "haproxy.cfg"
    configuration.write_text("".join(f"{line}\n" for line in fleet.haproxy(stats)))
    with _on_cores(FIRST):
        process = subprocess.Popen(rivals.command("haproxy", "-q", "-db", "-f", str(configuration)))
    try:
        wait_until(lambda: process.poll() is not None or stats.exists(), PATIENCE)
        assert process.poll() is None, "HAProxy has ended"
        wait_until(lambda: _passed(stats) == fleet.targets, PATIENCE)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


PROBERS: dict[str, Prober] = {"node": _node, "HAProxy": _haproxy}


def _passed(stats: Path) -> int:
    """Return how many of HAProxy's checks have succeeded."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(stats))
        connection.sendall(b"show stat\n")
        with connection.makefile(encoding="ascii") as answer:
            rows = csv.DictReader(answer)
            return sum(row["check_status"] in {"L4OK", "L7OK"} for row in rows)


@contextmanager
def _on_cores(cores: set[int]) -> Iterator[None]:
    """Restrict this thread, and processes that it starts, to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
