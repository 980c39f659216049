"""What following a source means, whatever its kind."""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path

from clusterf.lib.jitter import jittered
from clusterf.lib.store import Store
from clusterf.sources.doubt import DoubtKind, SourceDoubt
from clusterf.sources.last_good import KeyUpdate, LastGood
from clusterf.sources.leased_paths import LeasedPaths
from clusterf.sources.source_record import SourceRecord

__all__ = ["Follower", "OnUpdate", "Update"]

log = logging.getLogger(__name__)


Update = KeyUpdate | SourceDoubt
OnUpdate = Callable[[list[Update], bool], None]
"""Takes updates of a source, in order, and whether these complete its first snapshot."""


class Follower(ABC):
    """Follows the source at `url` in the thread that calls `run`, and passes what changes to `on_update`.

    Valid values are kept in `state_file`, if there is one. The whole source is read
    again about every `interval` seconds, and on `reload`.
    """

    def __init__(self, url: str, state_file: Path | None, interval: float, on_update: OnUpdate) -> None:
        self._reload = threading.Event()
        self._confirmed = threading.Event()
        self._stopping = threading.Event()
        self._url = url
        self._state_file = state_file
        self._interval = interval
        self._receive = on_update
        self._store: Store | None = None
        # the last moment of which it is known, and was passed on, what the source was
        self.known = -inf
        # whether the source, or its stored copy, was passed on as a whole
        self._synced = False
        # whether removals are in doubt because the copy that was passed on may be out of date
        self._copy_doubted = False
        # since when some values are not known, as it was passed on
        self._unknown: str | None = None

    def stop(self) -> None:
        """Have `run` return soon; any thread may call this."""
        self._stopping.set()

    def reload(self) -> None:
        """Have the whole source read again soon; any thread may call this."""
        self._reload.set()

    def confirm(self) -> None:
        """Have removals believed that are in doubt; any thread may call this."""
        self._confirmed.set()
        self._reload.set()

    def keep_state(self) -> None:
        """Write what could not be written to the state file; to be called every KEEP_INTERVAL, by any thread."""
        if self._store is not None:
            self._store.keep()

    def run(self) -> None:
        """Follow the source until `stop`."""
        sections = (self._url, SourceRecord.section(self._url), LeasedPaths.section(self._url))
        self._store = store = Store(self._state_file, sections=sections, keep_stale=True)
        self._last_good = LastGood(self._url, store)
        self._record = SourceRecord(self._url, store)
        try:
            self._follow()
        finally:
            self._store = None
            store.close()

    def _on_update(self, updates: list[Update], synced: bool) -> None:
        """Pass on updates, and whether there are values now that are invalid or unreadable, and were not recorded."""
        if self._synced and self._last_good.unknown != self._unknown:
            self._unknown = self._last_good.unknown
            if self._unknown is not None:
                reason = f"values are invalid or unreadable, and what they were is not known, since {self._unknown}"
                updates = [SourceDoubt(reason, DoubtKind.UNKNOWN), *updates]
            else:
                updates = [*updates, SourceDoubt(None, DoubtKind.UNKNOWN)]
        if updates or synced:
            self._receive(updates, synced)

    def _take_confirmation(self) -> bool:
        """Return whether `confirm` was called since the last time. If so, nothing is kept for what is not known."""
        confirmed = self._confirmed.is_set()
        if confirmed:
            self._confirmed.clear()
            self._last_good.forget_unknown()
        return confirmed

    def _doubt_copy(self) -> Iterator[SourceDoubt]:
        """Report it if the copy that is to be passed on may be out of date: what it lacks may have been added since."""
        if self._last_good.is_stale:
            log.warning(
                "%s: the last-good copy may be out of date: holding removals until the source responds", self._url
            )
            self._copy_doubted = True
            yield SourceDoubt("the last-good copy may be out of date")

    def _end_doubt_of_copy(self) -> Iterator[SourceDoubt]:
        """End that doubt: the source was read as a whole."""
        if self._copy_doubted:
            self._copy_doubted = False
            yield SourceDoubt(None)

    @abstractmethod
    def _follow(self) -> None:
        """Follow the source until `_stopping`."""

    def _next_scan(self) -> float:
        """Return when to read the whole source again, on the clock of `time.monotonic`."""
        return time.monotonic() + jittered(self._interval)
