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
from tests.soak.history import Busy, Change, Real, Sampling, Server, Virtual

__all__ = ["PERIOD", "Load", "State", "read", "state", "states"]

PERIOD = 0.01  # seconds between the beginnings of samples
REST = 2  # times as long as a sample takes, before the next one
SECOND = 1.0  # seconds of which the load is measured
IDLE = 0.1  # the share of them in which the CPU has to be idle; else all that happens takes longer
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

    def run(self, stop: list[int]) -> Iterator[Change | Busy | Sampling]:
        """Yield changes until there is something in `stop`, and then how the table was sampled."""
        due, load = time.monotonic(), Load()
        while not stop:
            yield from load.busy()
            begin = time.monotonic()
            with contextlib.suppress(OSError):  # a dump that the kernel has changed meanwhile, five times
                yield from self.sample()
            # a machine that is starved needs what is left of its CPU
            end = time.monotonic()
            due = max(due + PERIOD, end + REST * (end - begin))
            time.sleep(max(0.0, due - time.monotonic()))
        yield Sampling(self.samples, time.monotonic(), self.longest)


class Load:
    """Tells of each second whether the CPU was idle in it."""

    def __init__(self) -> None:
        self._since, self._idle = time.monotonic(), self._ticks()

    def busy(self) -> Iterator[Busy]:
        """Yield the last second if it is over, and the CPU was hardly idle in it."""
        now = time.monotonic()
        if now < self._since + SECOND:
            return
        idle = self._ticks()
        if idle - self._idle < IDLE * (now - self._since) * os.sysconf("SC_CLK_TCK"):
            yield Busy(self._since, now, "kernel")
        self._since, self._idle = now, idle

    def _ticks(self) -> int:
        return int(Path("/proc/stat").read_text().split(maxsplit=5)[4])


def read(path: Path) -> list[Change | Busy | Sampling]:
    """Return what was written to a file."""
    return [msgspec.json.decode(line, type=Change | Busy | Sampling) for line in path.read_bytes().splitlines()]


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
