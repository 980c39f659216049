"""Tables written to a kernel in several ways, and single changes: run by the benchmark in a guest of tests/lab.

Each way has its own network namespace, since deleted real servers stay in the kernel
for a while and slow down later additions. Namespaces are kept until the end, so that
removing one does not slow down the next measurement.
"""

import gc
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.bench import ipvs_limit
from tests.bench.ipvs_director import Cycle, Director, Reading
from tests.bench.ipvs_limit import Send, write
from tests.bench.ipvs_programs import NodeChanges, Reloads, change_node, restore, start_keepalived, start_node
from tests.bench.ipvs_tables import steps_of, table
from tests.bench.starts import Start
from tests.bench.trees import WEIGHT, Shape
from tests.system.support.netns import network_namespace

__all__ = ["IpvsPlan", "IpvsResults", "Singles", "Writing", "measure"]

WARM_UP = 20  # changes that are not measured
USABLE = 0.8  # of the memory that is free


class IpvsPlan(NamedTuple):
    """How much to measure."""

    small: Shape
    shapes: list[Shape]
    rounds: int  # of writing within this process
    singles: int  # weights changed within this process, of the small shape and of the first other
    changes: int  # files changed for a node
    reloads: int  # of keepalived


class Bulk(msgspec.Struct, frozen=True):
    """How long it took to write a table within one process, in seconds."""

    acknowledged: float  # messages encoded beforehand, with an answer to each
    batched: float  # with an answer to many
    apply: float  # NetlinkIpvs, of steps made beforehand
    cycle: Cycle
    reading: Reading


class Writing(msgspec.Struct, frozen=True):
    """How long it took to write a table and to change it, in several ways. Times are in seconds."""

    shape: Shape
    rounds: list[Bulk]
    ipvsadm: float  # from exec to exit
    keepalived: Reloads
    fresh: Start
    again: Start
    changes: NodeChanges


class Singles(msgspec.Struct, frozen=True):
    """How long it took each time to write one weight within one process, in seconds."""

    shape: Shape
    latencies: list[float]


class IpvsResults(msgspec.Struct, frozen=True):
    """The results of one run."""

    writings: list[Writing]
    singles: list[Singles]  # of the small shape, and of the first other


def measure(plan: IpvsPlan) -> IpvsResults:
    """Measure everything."""
    with ExitStack() as namespaces:

        def fresh() -> None:
            namespaces.enter_context(network_namespace())

        singles = _singles((plan.small, plan.shapes[0]), plan.singles, fresh)
        return IpvsResults([_writing(shape, plan, fresh) for shape in plan.shapes], singles)


def _writing(shape: Shape, plan: IpvsPlan, fresh: Callable[[], None]) -> Writing:
    rounds = [_bulk(shape, fresh) for _ in range(plan.rounds)]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        directory = Path(name)
        fresh()
        ipvsadm = restore(shape, directory)
        fresh()
        keepalived = start_keepalived(shape, directory, plan.reloads)
        tree = directory / "tree"
        shape.write(tree)
        fresh()
        starts = start_node(shape, tree, directory)
        changes = change_node(shape, tree, directory, plan.changes)
    return Writing(shape, rounds, ipvsadm, keepalived, *starts, changes)


def _bulk(shape: Shape, fresh: Callable[[], None]) -> Bulk:
    acknowledged = _send(ipvs_limit.acknowledged(steps_of(table(shape))), fresh)
    batched = _send(ipvs_limit.batched(steps_of(table(shape))), fresh)
    fresh()
    with Director(shape) as director:
        apply = director.apply()
    fresh()
    with Director(shape) as director:
        return Bulk(acknowledged, batched, apply, director.write(), director.reread())


def _send(sends: Sequence[Send], fresh: Callable[[], None]) -> float:
    fresh()
    return write(sends)


def _singles(shapes: tuple[Shape, Shape], count: int, fresh: Callable[[], None]) -> list[Singles]:
    """Change single weights, of each shape in turn, so that other load on the machine affects both."""
    with ExitStack() as stack:
        directors = []
        for shape in shapes:
            fresh()
            directors.append(stack.enter_context(Director(shape)))
            directors[-1].write()
        measured = [Singles(shape, []) for shape in shapes]
        for number in range(WARM_UP + count):
            for director, singles in zip(directors, measured, strict=True):
                place = number * 7919 % director.shape.services, number % director.shape.backends
                took = director.change(*place, WEIGHT + 1 + number)
                if number >= WARM_UP:
                    singles.latencies.append(took)
        return measured


def _touch_memory() -> None:
    """Use the free memory once: pages that the guest uses for the first time are slow, as the host allocates them."""
    free = re.search(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert free
    bytes([1]) * int(int(free[1]) * 1024 * USABLE)


if __name__ == "__main__":
    # as in the processes of a node
    gc.set_threshold(100_000, 20, 100)
    _touch_memory()
    print(msgspec.json.encode(measure(msgspec.json.decode(sys.argv[1], type=IpvsPlan))).decode())
