"""What the kernel has to have beside the table, for the table to be of use.

Settings of IPVS, its synchronisation daemons, addresses of the VIPs: each is
kept by a `Keeper` of its own, which only IpvsWriter calls, as there is one
writer of the kernel.
"""

from collections.abc import Mapping
from typing import Protocol

from clusterf.table import VirtualServer

__all__ = ["Follower", "Keeper"]


class Keeper(Protocol):
    """Keeps one thing in the kernel as it has to be.

    It looks at what is, writes the difference and says nothing if there is
    none, so that it may be called at any time and any number of times.
    """

    def keep(self) -> None:
        """Make it as it has to be, and log what was done. Raises OSError if that cannot be done."""


class Follower(Keeper, Protocol):
    """Keeps what each virtual server of ours has to have, and so has to know them.

    It is told to `keep` after the table was read.
    """

    def follow(self, changes: Mapping[VirtualServer, bool]) -> None:
        """See to virtual servers that are ours from now on (True) and not yet made, or that have gone.

        Called again, perhaps with none, after each part that was written.
        Raises OSError if something cannot be had.
        """
