"""What the kernel has to have beside the table, for the table to be of use.

Settings of IPVS, its sync daemons, addresses of the VIPs: each is kept by a
`Companion` of its own, which only IpvsWriter calls, as there is one writer of the
kernel.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from clusterf.ipvs.operation_log import log_prefix
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.backoff import Backoff

__all__ = ["Companion", "Companions", "VirtualServerCompanion"]

log = logging.getLogger(__name__)


class Companion(Protocol):
    """Keeps one aspect of the kernel as it is desired.

    It reads what is there, writes the difference and logs only that, so that it may be
    called at any time and any number of times.
    """

    def keep(self) -> None:
        """Write what differs, and log it. Raises OSError with the reason if that cannot be done."""


class VirtualServerCompanion(Companion, Protocol):
    """Keeps what each virtual server of ours needs, and so has to know them."""

    def follow(self, changes: Mapping[VirtualServer, bool]) -> None:
        """Prepare virtual servers that have become ours (True) and are about to be added; clean up after removed ones.

        Called again, perhaps without changes, after each part that was written.
        Raises OSError if something that they need is not there.
        """


class Companions:
    """All companions of a node. Their errors are logged and retried: the table is written nevertheless.

    `longest` is the longest delay of a retry, in seconds.
    """

    def __init__(
        self,
        companions: Sequence[Companion] = (),
        follower: VirtualServerCompanion | None = None,
        *,
        noop: bool = False,
        longest: float = 60.0,
    ) -> None:
        self._follower = follower
        self._all = [*companions, follower] if follower is not None else [*companions]
        self._noop = noop
        self._prefix = log_prefix(noop=noop)
        self._backoff = Backoff(initial=1, longest=longest)
        # whether something failed at the last attempt
        self.failing = False

    def keep(self) -> None:
        """Have each companion write what differs."""
        self.failing = False
        for companion in self._all:
            with self._errors_logged():
                companion.keep()
        if not self.failing:
            self._backoff.reset()

    def follow(self, changes: Mapping[VirtualServer, bool]) -> None:
        """Pass on which virtual servers have become ours (True), or no longer are."""
        if self._follower is not None:
            with self._errors_logged():
                self._follower.follow(changes)

    def retry_delay(self) -> float:
        """Return in how many seconds to call `keep` again, as something failed."""
        return self._backoff.next()

    @contextmanager
    def _errors_logged(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            log.error("%s: %s", self._prefix, error)
            self.failing = not self._noop
