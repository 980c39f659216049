"""A director's work on the kernel's table, without its processes, messages, configuration and logs."""

import time
from collections.abc import Mapping, Sequence
from typing import Self

import msgspec

from actors.director.ipvs_writer import PART
from clusterf.ipvs.netlink.client import open_kernel
from clusterf.ipvs.table import Step, Table, VirtualServer, VirtualServerSpec
from clusterf.reconcile.reconciler import Reconciler
from tests.bench.ipvs_tables import real_server, settings, steps_of, table, virtual_server
from tests.bench.trees import Shape

__all__ = ["Cycle", "Director", "Reading"]

DRAIN_TIMEOUT = 30.0  # seconds, the default of frontends


class Cycle(msgspec.Struct, frozen=True, order=True):
    """How long it took to write a table from nothing. Times are in seconds."""

    total: float
    steps: float  # to find the next steps
    kernel: float  # to write them
    done: float  # to record them as done


class Reading(msgspec.Struct, frozen=True):
    """How long it took to find nothing to do. Times are in seconds."""

    kernel: float  # to read the table
    start: float  # to compare it with the desired one, the first time
    resync: float  # and again

    @property
    def total(self) -> float:
        """Both, after a start."""
        return self.kernel + self.start


class Director:
    """Wants exactly the table of a shape in this thread's network namespace."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._wanted = table(shape)
        self._kernel = open_kernel()
        self._reconciler = _wanting(self._wanted, {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection to the kernel."""
        self._kernel.close()

    def apply(self) -> float:
        """Write the whole table at once, with steps prepared beforehand; return the seconds it took."""
        steps = list(steps_of(self._wanted))
        began = time.perf_counter()
        errors = self._kernel.apply(steps)
        took = time.perf_counter() - began
        assert not any(errors)
        return took

    def write(self) -> Cycle:
        """Write the whole table as an IpvsWriter does, in batches."""
        self._reconciler.observe(self._kernel.read())
        began = time.perf_counter()
        spent = [0.0, 0.0, 0.0]
        while times := self._part():
            spent = [before + more for before, more in zip(spent, times, strict=True)]
        total = time.perf_counter() - began
        assert self._kernel.read() == self._wanted, "the table is not the expected one"
        return Cycle(total, *spent)

    def _part(self) -> tuple[float, float, float] | None:
        """Do the next batch, and return the seconds of each stage; None if there is nothing to do."""
        began = time.perf_counter()
        steps = self._next()
        if not steps:
            return None
        known = time.perf_counter()
        errors = self._kernel.apply(steps)
        written = time.perf_counter()
        assert not self._reconciler.done(steps, errors)
        self._reconciler.owned.take_changes()
        return known - began, written - known, time.perf_counter() - written

    def reread(self) -> Reading:
        """Read the correct table as a node does after its start, and once more."""
        self._reconciler = _wanting(self._wanted, dict.fromkeys(self._wanted.virtuals, DRAIN_TIMEOUT))
        began = time.perf_counter()
        found = self._kernel.read()
        read = time.perf_counter()
        self._look(found)
        seen = time.perf_counter()
        again = self._kernel.read()
        reread = time.perf_counter()
        self._look(again)
        return Reading(read - began, seen - read, time.perf_counter() - reread)

    def _look(self, found: Table) -> None:
        self._reconciler.observe(found)
        assert not self._next(), "there are steps left"

    def change(self, service: int, backend: int, weight: int) -> float:
        """Change the weight of a backend by one message; return the seconds it took."""
        virtual, real, how = virtual_server(service), real_server(service, backend), settings(weight)
        began = time.perf_counter()
        self._reconciler.want_real(virtual, real, how)
        steps = self._next()
        errors = self._kernel.apply(steps)
        failures = self._reconciler.done(steps, errors)
        took = time.perf_counter() - began
        assert len(steps) == 1
        assert not failures
        return took

    def _next(self) -> Sequence[Step]:
        return self._reconciler.next_steps(PART, time.monotonic(), self._kernel.connections)


def _wanting(wanted: Table, owned: Mapping[VirtualServer, float]) -> Reconciler:
    """Return a reconciler that has been given the desired table, item by item."""
    reconciler = Reconciler(owned)
    for virtual, how in wanted.virtuals.items():
        reconciler.want_virtual(virtual, VirtualServerSpec(how, DRAIN_TIMEOUT))
        for real, weight in wanted.reals[virtual].items():
            reconciler.want_real(virtual, real, weight)
    return reconciler
