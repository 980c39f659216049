"""The kernel's IPVS as the writer sees it, and a shadow of it for `--noop`.

`Kernel` is the whole of what the writer needs of a kernel: read it, apply
steps, count connections. `clusterf.netlink` is the real one.
"""

import errno
from collections.abc import Mapping, Sequence
from typing import Protocol

from clusterf.table import (
    Op,
    RealServer,
    RealServerSettings,
    Step,
    Table,
    VirtualServer,
    VirtualServerSettings,
)

__all__ = ["Kernel", "ShadowKernel", "Unavailable", "VirtualServerState"]

VirtualServerState = tuple[VirtualServerSettings, Mapping[RealServer, RealServerSettings]]


class Unavailable(Exception):
    """IPVS cannot be used at all; the text names the module or the capability that is missing."""


class Kernel(Protocol):
    """What a writer asks of IPVS. Every method may raise OSError, and returns within a deadline."""

    def read(self) -> Table:
        """Return all virtual servers with all of their real servers."""

    def read_virtuals(self) -> dict[VirtualServer, VirtualServerSettings]:
        """Return all virtual servers without their real servers."""

    def read_virtual(self, virtual: VirtualServer) -> VirtualServerState | None:
        """Return one virtual server with its real servers, None if it does not exist."""

    def connections(self, virtual: VirtualServer) -> Mapping[RealServer, int]:
        """Return the active connections of each real server of `virtual`."""

    def apply(self, steps: Sequence[Step]) -> list[int]:
        """Do the steps in order; return an errno for each, 0 where it is done.

        A step that fails does not stop the ones after it.
        """

    def flush(self) -> None:
        """Remove every virtual server."""

    def close(self) -> None:
        """Let go of the kernel; the table stays as it is."""


class ShadowKernel:
    """A table in memory that takes steps as the kernel does, errors included."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table if table is not None else Table()

    def read(self) -> Table:
        """Return a copy of the table."""
        return self.table.copy()

    def read_virtuals(self) -> dict[VirtualServer, VirtualServerSettings]:
        """Return a copy of the virtual servers."""
        return dict(self.table.virtuals)

    def read_virtual(self, virtual: VirtualServer) -> VirtualServerState | None:
        """Return a copy of one virtual server."""
        settings = self.table.virtuals.get(virtual)
        return None if settings is None else (settings, dict(self.table.reals[virtual]))

    def connections(self, virtual: VirtualServer) -> Mapping[RealServer, int]:
        """Return nothing: a shadow has no connections."""
        del virtual
        return {}

    def apply(self, steps: Sequence[Step]) -> list[int]:
        """Apply the steps to the table, each with the errno that the kernel would give."""
        return [self._apply(step) for step in steps]

    def _apply(self, step: Step) -> int:
        error = self._refusal(step)
        if not error:
            self.table.apply(step)
        return error

    def _refusal(self, step: Step) -> int:
        exists = step.virtual in self.table.virtuals
        if step.real is None:
            if step.op is Op.ADD_VIRTUAL:
                return errno.EEXIST if exists else 0
            return 0 if exists else errno.ESRCH
        if not exists:
            return errno.ESRCH
        known = step.real in self.table.reals[step.virtual]
        if step.op is Op.ADD_REAL:
            return errno.EEXIST if known else 0
        return 0 if known else errno.ENOENT

    def flush(self) -> None:
        """Empty the table."""
        self.table = Table()

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""
