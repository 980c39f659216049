"""What the kernel has before we write: its table at the start, and later a virtual server that is new to us."""

import logging
import time
from collections.abc import Callable

from clusterf.ipvs.table import Table, VirtualServer, VirtualServerState
from clusterf.lib.backoff import Backoff

__all__ = ["FoundTable", "logging_errors"]

log = logging.getLogger(__name__)


class FoundTable:
    """What `read` returned at its first success; `read` may raise OSError, which is logged."""

    def __init__(self, read: Callable[[], Table]) -> None:
        self._read = read
        self._backoff = Backoff(initial=0.5, longest=30)
        self._retry_at = 0.0
        self._found = False
        self.table = Table()

    def awaited(self) -> float:
        """Read the table, unless that has succeeded; return in how many seconds to call this again, 0: it is known."""
        now = time.monotonic()
        if self._found or now < self._retry_at:
            return 0.0 if self._found else self._retry_at - now
        try:
            self.table = self._read()
        except OSError as error:
            delay = self._backoff.next()
            self._retry_at = now + delay
            log.error("ipvs: %s: rereading the table, retrying in %.1f seconds", error.strerror or error, delay)
            return delay
        self._found = True
        return 0.0

    def forget(self) -> None:
        """Drop the table, which is not read again."""
        self._found, self.table = True, Table()


def logging_errors(
    find: Callable[[VirtualServer], VirtualServerState | None],
) -> Callable[[VirtualServer], VirtualServerState | None]:
    """Return a reader that returns None, and logs why, where `find` raises OSError."""

    def found(virtual: VirtualServer) -> VirtualServerState | None:
        try:
            return find(virtual)
        except OSError as error:
            log.error("ipvs: %s: cannot be read, treated as new: %s", virtual, error.strerror or error)
            return None

    return found
