"""The start of a node against `ipvsadm -R`, in one kernel: run by the benchmark in a guest of tests/lab.

Each of the two gets a network namespace of its own, as real servers that are
deleted stay in the kernel for a while and slow down those that are added.
"""

import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import msgspec

from actors.ipvs_writer import PART
from tests.bench.nodes import Memory, command, running
from tests.bench.trees import Shape
from tests.system.netns import network_namespace

__all__ = ["Start", "Starts", "measure", "once"]

_OPERATION = re.compile(r"ipvs( noop)?: ipvsadm ")


class Start(msgspec.Struct, frozen=True):
    """One run of a node with `--once`. Times are in seconds from its exec."""

    operations: int
    first: float  # the first operation is logged
    last: float  # the last one
    exit: float

    @property
    def apply(self) -> float:
        """How long the operations took, logging them included.

        They are logged when they are done, `PART` at a time; so the first part
        is written before the first line, and is taken to be as slow as the rest.
        """
        if self.operations <= PART:
            return 0.0
        return (self.last - self.first) * self.operations / (self.operations - PART)


class Starts(msgspec.Struct, frozen=True):
    """What was measured. Times are in seconds."""

    shape: Shape
    ipvsadm: float
    fresh: Start
    again: Start
    memory: dict[str, Memory]


class _Line(msgspec.Struct):
    time: datetime
    message: str


def measure(shape: Shape) -> Starts:
    """Measure everything once."""
    assert shape.operations > PART
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        directory = Path(name)
        tree = directory / "tree"
        shape.write(tree)
        with network_namespace():
            ipvsadm = _restore(shape, directory / "table")
        with network_namespace():
            fresh = once(tree.as_uri(), directory)
            _check(shape)
            again = once(tree.as_uri(), directory)
            memory = _memory(shape, tree, directory)
    return Starts(shape, ipvsadm, fresh, again, memory)


def _restore(shape: Shape, path: Path) -> float:
    path.write_text("".join(f"{line}\n" for line in shape.table()))
    with path.open() as table:
        began = time.perf_counter()
        subprocess.run(["ipvsadm", "-R"], stdin=table, check=True)
        took = time.perf_counter() - began
    _check(shape)
    return took


def _check(shape: Shape) -> None:
    saved = subprocess.run(["ipvsadm", "-Sn"], capture_output=True, text=True, check=True).stdout
    assert sorted(saved.splitlines()) == sorted(shape.table()), "the table is not as it should be"


def once(source: str, directory: Path, *more: str) -> Start:
    """Run a node with `--once`, and with `more` flags, and measure it."""
    # a file, as nobody has to be woken for each of its lines
    log = directory / "log"
    with log.open("w") as stderr:
        began = time.time()
        flags = ["--once", "--once-timeout", "600", "--log-format", "json", *more]
        subprocess.run(command(source, directory, *flags), stderr=stderr, check=True)
        ended = time.time()
    lines = [msgspec.json.decode(line, type=_Line) for line in log.read_bytes().splitlines()]
    times = [line.time.timestamp() - began for line in lines if _OPERATION.match(line.message)]
    first, last = (times[0], times[-1]) if times else (0.0, 0.0)
    return Start(len(times), first, last, ended - began)


def _memory(shape: Shape, tree: Path, directory: Path) -> dict[str, Memory]:
    """Return what a node has that found its table right but for one weight, and then wrote another."""
    with running(command(tree.as_uri(), directory)) as node:
        for weight in (20, 30):
            node.log.wait_for(shape.change(tree, 0, 0, weight))
        return node.memory()


if __name__ == "__main__":
    print(msgspec.json.encode(measure(Shape(*map(int, sys.argv[1:])))).decode())
