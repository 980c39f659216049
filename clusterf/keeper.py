"""What the kernel has to have beside the table, for the table to be of use.

Settings of IPVS, its synchronisation daemons, addresses of the VIPs: each is
kept by a `Keeper` of its own, which only IpvsWriter calls, as there is one
writer of the kernel.
"""

from typing import Protocol

__all__ = ["Keeper"]


class Keeper(Protocol):
    """Keeps one thing in the kernel as it has to be.

    It looks at what is, writes the difference and says nothing if there is
    none, so that it may be called at any time and any number of times.
    """

    def keep(self) -> None:
        """Make it as it has to be, and log what was done. Raises OSError if that cannot be done."""
