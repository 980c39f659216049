"""What the kernel has to have beside the table, for the table to be of use.

Settings of IPVS, its synchronisation daemons, addresses of the VIPs: each is
kept by a `Keeper` of its own, which only IpvsWriter calls, as there is one
writer of the kernel.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from clusterf.ipvs.table import VirtualServer

__all__ = ["Companion", "Companions", "VirtualServerCompanion"]

log = logging.getLogger(__name__)


class Companion(Protocol):
    """Keeps one thing in the kernel as it has to be.

    It looks at what is, writes the difference and says nothing if there is
    none, so that it may be called at any time and any number of times.
    """

    def keep(self) -> None:
        """Make it as it has to be, and log what was done. Raises OSError if that cannot be done."""


class VirtualServerCompanion(Companion, Protocol):
    """Keeps what each virtual server of ours has to have, and so has to know them."""

    def follow(self, changes: Mapping[VirtualServer, bool]) -> None:
        """See to virtual servers that are ours from now on (True) and not yet made, or that have gone.

        Called again, perhaps with none, after each part that was written.
        Raises OSError if something cannot be had.
        """


class Companions:
    """All keepers of a node. What they cannot have they report: that is no reason not to write the table."""

    def __init__(
        self, keepers: Sequence[Companion] = (), follower: VirtualServerCompanion | None = None, *, noop: bool = False
    ) -> None:
        self._follower = follower
        self._all = [*keepers, follower] if follower is not None else [*keepers]
        self._noop = noop
        # whether something that is to be had could not be, at the last attempt
        self.lacking = False

    def keep(self) -> None:
        """Have everything as it has to be."""
        self.lacking = False
        for keeper in self._all:
            with self._tolerance():
                keeper.keep()

    def follow(self, changes: Mapping[VirtualServer, bool]) -> None:
        """See to what virtual servers need that are ours (True), or are not any more."""
        if self._follower is not None:
            with self._tolerance():
                self._follower.follow(changes)

    @contextmanager
    def _tolerance(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            log.error("%s: %s", "ipvs noop" if self._noop else "ipvs", error)
            self.lacking = not self._noop
