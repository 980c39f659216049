"""The interface of the kernel's IPVS: read it, apply steps, count connections.

`clusterf.ipvs.netlink.client` implements it, and `clusterf.ipvs.shadow` for `--noop`.
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
    """IPVS cannot be used at all; the message names the missing module or capability."""


class Kernel(Protocol):
    """IPVS of one network namespace. Every method may raise OSError, and returns within a deadline."""

    def read(self) -> Table:
        """Return all virtual servers with all of their real servers."""

    def read_virtuals(self) -> dict[VirtualServer, VirtualServerSettings]:
        """Return all virtual servers without their real servers."""

    def read_virtual(self, virtual: VirtualServer) -> VirtualServerState | None:
        """Return one virtual server with its real servers, None if it does not exist."""

    def connections(self, virtual: VirtualServer) -> Mapping[RealServer, ConnectionCount]:
        """Return how many connections each real server of `virtual` has."""

    def apply(self, steps: Sequence[Step]) -> list[int]:
        """Apply the steps in order; return an errno for each, 0 for success.

        A step that fails does not stop the steps after it.
        """

    def flush(self) -> None:
        """Remove every virtual server."""

    def close(self) -> None:
        """Close the connection to the kernel; the table stays as it is."""
