"""Samples the kernel's table every 10 ms, in a process and through a socket of its own.

`python -m tests.soak.observer FILE` writes a line for each virtual server that a
sample shows to have changed, and at SIGTERM one for the whole; `read` reads them.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from clusterf.ipvs.netlink.client import open_kernel
from clusterf.ipvs.table import RealServerSettings, Table
from tests.soak.history import Change, Real, Sampling, Server, Virtual

__all__ = ["PERIOD", "read", "state", "states"]

PERIOD = 0.01  # seconds between the beginnings of samples
State = tuple[str, dict[Real, Server]]


def states(table: Table) -> dict[Virtual, State]:
    """Return the state of each virtual server of a table."""
    return {str(virtual): state(table, virtual) for virtual in table.virtuals}


def state(table: Table, virtual: Any) -> State:
    """Return the state of one virtual server of a table."""
    settings = table.virtuals[virtual]
    text = f"{settings.scheduler}/{int(settings.flags)}/{settings.timeout}"
    return text, {str(real): _server(found) for real, found in table.reals[virtual].items()}


def _server(settings: RealServerSettings) -> Server:
    return Server(settings.weight, f"{settings.method.name}/{settings.upper}/{settings.lower}")


class Observer:
    """Compares each sample with the one before."""

    def __init__(self) -> None:
        self._kernel = open_kernel()
        self._table: dict[Virtual, State] = {}
        self._begun = time.monotonic()
        self.samples = 0
        self.longest = 0.0

    def sample(self) -> Iterator[Change]:
        """Yield the changes since the last sample."""
        begun = time.monotonic()
        table = states(self._kernel.read())
        end = time.monotonic()
        for virtual in self._table.keys() | table.keys():
            now = table.get(virtual)
            if now != self._table.get(virtual):
                yield Change(self._begun, end, virtual, now[0] if now else None, now[1] if now else {})
        self.longest = max(self.longest, begun - self._begun)
        self._table, self._begun = table, begun
        self.samples += 1

    def run(self, stop: list[int]) -> Iterator[Change | Sampling]:
        """Yield changes until there is something in `stop`, and then how the table was sampled."""
        due = time.monotonic()
        while not stop:
            with contextlib.suppress(OSError):  # a dump that the kernel has changed meanwhile, five times
                yield from self.sample()
            due = max(due + PERIOD, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        yield Sampling(self.samples, time.monotonic(), self.longest)


def read(path: Path) -> tuple[list[Change], Sampling]:
    """Return what was written to a file."""
    lines = path.read_bytes().splitlines()
    changes = [msgspec.json.decode(line, type=Change) for line in lines[:-1]]
    return changes, msgspec.json.decode(lines[-1], type=Sampling)


def main() -> None:
    """Write what is seen until SIGTERM."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    with Path(sys.argv[1]).open("wb") as out:
        for line in Observer().run(stop):
            out.write(msgspec.json.encode(line) + b"\n")
            out.flush()


if __name__ == "__main__":
    main()
