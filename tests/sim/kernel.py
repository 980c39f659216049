"""The kernel of a simulated node: the project's shadow of it, with what a real one does besides.

It refuses at random, loses answers, has connections, lists real servers newest first,
and is edited by hand. Each step of clusterf is shown to `judge` before it is done.
"""

import errno
from collections.abc import Callable, Mapping, Sequence

from clusterf.ipvs.shadow import ShadowKernel
from clusterf.ipvs.table import ConnectionCount, Op, RealServer, Step, Table, VirtualServer
from tests.sim.simulation import Simulation

__all__ = ["Kernel", "Session"]

ERRORS = (errno.ENOMEM, errno.EBUSY, errno.EINTR, errno.ENOBUFS)


class Kernel(ShadowKernel):
    """The table of one node, which outlives its processes."""

    def __init__(self, simulation: Simulation, judge: Callable[[Step], None]) -> None:
        super().__init__()
        self.simulation = simulation
        self._judge = judge
        # the share of steps that are refused, and of calls whose answer is lost
        self.refusing = 0.0
        self.losing = 0.0
        # active connections of real servers
        self.active: dict[tuple[VirtualServer, RealServer], int] = {}
        # steps of clusterf that were done
        self.writes = 0

    def by_hand(self, step: Step) -> bool:
        """Do a step of somebody else; return whether the kernel took it."""
        return not super()._apply(step)

    def weight(self, virtual: VirtualServer, real: RealServer | None = None) -> int:
        """Return the weight in force of a virtual server, or of one of its real servers."""
        reals = self.table.reals.get(virtual, {})
        if real is not None:
            return reals[real].weight if real in reals else 0
        return sum(settings.weight for settings in reals.values())

    def _apply(self, step: Step) -> int:
        if self.refusing and self.simulation.random.random() < self.refusing:
            return self.simulation.random.choice(ERRORS)
        if self._refusal(step):
            return super()._apply(step)
        self._judge(step)
        self.writes += 1
        error = super()._apply(step)
        if step.op is Op.REMOVE_REAL and step.real is not None:
            self.active.pop((step.virtual, step.real), None)
        return error


class Session:
    """The connection of one director process to the kernel of its node."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def read(self) -> Table:
        """Return the table, with real servers newest first."""
        self._maybe_lost()
        table = self._kernel.read()
        table.reals = {virtual: dict(reversed(reals.items())) for virtual, reals in table.reals.items()}
        return table

    def read_virtuals(self) -> object:
        """Return the virtual servers."""
        self._maybe_lost()
        return self._kernel.read_virtuals()

    def read_virtual(self, virtual: VirtualServer) -> object:
        """Return one virtual server."""
        self._maybe_lost()
        return self._kernel.read_virtual(virtual)

    def connections(self, virtual: VirtualServer) -> Mapping[RealServer, ConnectionCount]:
        """Return the connections of each real server."""
        self._maybe_lost()
        active = self._kernel.active
        return {r: ConnectionCount(active.get((virtual, r), 0), 0) for r in self._kernel.table.reals.get(virtual, {})}

    def apply(self, steps: Sequence[Step]) -> list[int]:
        """Apply steps; the answer may be lost when some of them, or all, are done."""
        if self._is_lost():
            done = self._kernel.simulation.random.randint(0, len(steps))
            self._kernel.apply(steps[:done])
            raise OSError(errno.ETIMEDOUT, "no answer from the kernel")
        return self._kernel.apply(steps)

    def flush(self) -> None:
        """Empty the table."""
        self._kernel.flush()

    def close(self) -> None:
        """Do nothing."""

    def _is_lost(self) -> bool:
        return self._kernel.losing > 0 and self._kernel.simulation.random.random() < self._kernel.losing

    def _maybe_lost(self) -> None:
        if self._is_lost():
            raise OSError(errno.ENOBUFS, "no answer from the kernel")
