"""Until when removals are held, recorded across restarts of the director.

Times are in seconds on the monotonic clock, which is one for all processes of a boot, as the record is.
"""

import logging

import msgspec

from clusterf.reconcile.record import Record

__all__ = ["HoldRecord"]

log = logging.getLogger(__name__)

_KEY = b"until"


class HoldRecord:
    """The end of the hold; without a `record` nothing is kept."""

    def __init__(self, record: Record | None = None) -> None:
        self._record = record
        self._saved: float | None = None

    def load(self) -> float | None:
        """Return the recorded moment, None if nothing is held."""
        raw = self._record.get(_KEY) if self._record is not None else None
        try:
            self._saved = msgspec.json.decode(raw, type=float) if raw is not None else None
        except (ValueError, RecursionError, msgspec.DecodeError) as error:
            log.error("state: invalid record of held removals (ignored): %s", error)
        return self._saved

    def save(self, until: float | None) -> None:
        """Record the moment."""
        if self._record is not None and until != self._saved:
            self._saved = until
            self._record.update({_KEY: msgspec.json.encode(until) if until is not None else None})
