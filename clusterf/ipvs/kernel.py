"""The kernel's IPVS as the writer sees it, and a shadow of it for `--noop`.

`Kernel` is the whole of what the writer needs of a kernel: read it, apply
steps, count connections. `clusterf.ipvs.netlink.client` is the real one.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from clusterf.ipvs.table import (
    ConnectionCount,
    RealServer,
    Step,
    Table,
    VirtualServer,
    VirtualServerSettings,
    VirtualServerState,
)

__all__ = ["Kernel", "Unavailable"]


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

    def connections(self, virtual: VirtualServer) -> Mapping[RealServer, ConnectionCount]:
        """Return how many connections each real server of `virtual` has."""

    def apply(self, steps: Sequence[Step]) -> list[int]:
        """Do the steps in order; return an errno for each, 0 where it is done.

        A step that fails does not stop the ones after it.
        """

    def flush(self) -> None:
        """Remove every virtual server."""

    def close(self) -> None:
        """Let go of the kernel; the table stays as it is."""
