"""Following a configuration tree on disk.

inotify names the paths to scan. A scan of the whole tree at an interval, by time
stamps, finds what inotify misses (an overflow of its queue, a network file system,
a symbolic link that points elsewhere).

A file that is written in place is empty or incomplete for a moment, and one that is
replaced by removing it first is missing. A part of a JSON object is never a valid
one, so a value that is missing, empty or invalid is believed only once it has been so
for a while. Time stamps of files play no part in that: their clock may be another's.
Until then, and until no file has changed for as long, a change is under way: what is known of it is
passed on, and removals are in doubt.
"""

import logging
import time
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path

import watchfiles

from clusterf.config.keys import parse_key
from clusterf.etcd.values import Oversized
from clusterf.lib.backoff import Backoff
from clusterf.lib.store import is_below
from clusterf.sources.doubt import DoubtKind, SourceDoubt
from clusterf.sources.follower import Follower, OnUpdate, Update
from clusterf.sources.last_good import KeyUpdate
from clusterf.sources.mounts import Place
from clusterf.sources.tree import Entry, FileTree

__all__ = ["TreeFollower"]

log = logging.getLogger(__name__)

SETTLE = 0.5  # seconds without a change before a missing, empty or invalid value is believed, and a change complete
GATHER = 10  # milliseconds within which events are handled together
LOOK = 250  # milliseconds between checks whether the root is still the same directory
OVERFLOW = 4096  # events at once; with more, some may have been lost (inotify queues 16,384)
_MOUNTS = "mounts"  # the name under which the places of directories are recorded
PART = 1000  # updates passed on at a time, at most


class TreeFollower(Follower):
    """Follows the tree below `root`; with `once` only until its first snapshot is complete."""

    def __init__(
        self, url: str, root: Path, state_file: Path | None, interval: float, on_update: OnUpdate, *, once: bool = False
    ) -> None:
        super().__init__(url, state_file, interval, on_update)
        self._once = once
        self._root = root
        self._tree = FileTree(root)
        self._backoff = Backoff(initial=LOOK / 1000, longest=5)
        # paths to scan again: when, and the bytes found, None if the file was missing
        self._unsettled: dict[bytes, tuple[float, bytes | Oversized | None]] = {}
        # whether it was passed on that a change is under way, and until when it is after the last file that changed
        self._changing = False
        self._complete_at = 0.0
        # paths of files and directories that are unreadable
        self._unreadable: set[bytes] = set()

    def _follow(self) -> None:
        # a file may be missing for a moment at a restart, too
        self._tree.expect(self._last_good.paths())
        # and a file system may be away
        self._tree.mounts.expect(self._record.get(_MOUNTS, dict[bytes, Place]) or {})
        self._scan(b"", reread=True)
        if b"" in self._unreadable:
            if self._synced:
                log.warning("%s: unreadable, using the last-good copy", self._url)
            else:
                log.warning("%s: unreadable, no last-good copy: nothing is written until it is back", self._url)
        while not self._stopping.is_set():
            self._follow_root()

    def _follow_root(self) -> None:
        """Follow the present root directory until it is replaced or removed."""
        try:
            self._watch(self._tree.identity())
        except OSError as error:
            if not self._backoff.tries:
                log.warning(
                    "%s: unreadable: %s, retrying; keeping the current state", self._url, error.strerror or error
                )
            self._scan(b"")
            self._scan_again()
            self._stopping.wait(self._backoff.next())
        except RuntimeError as error:
            # watchfiles fails on names that are not UTF-8; scans find them
            log.debug("%s: watch restarted: %s", self._url, error)
            self._scan(b"")
            self._scan_again()
            self._stopping.wait(LOOK / 1000)

    def _watch(self, identity: tuple[int, int]) -> None:
        next_scan = 0.0  # at once after inotify has begun, for changes since the last scan
        for changes in self._events():
            if self._tree.identity() != identity:
                return
            self._backoff.reset()
            now = time.monotonic()
            if now >= next_scan or self._reload.is_set() or len(changes) > OVERFLOW:
                next_scan = self._next_scan()
                reread = self._reload.is_set()
                self._reload.clear()
                self._scan(b"", reread=reread)
            changed = {self._tree.relative(path) for _, path in changes}
            self._scan_again(changed)
            self.known = now
            if any(path.startswith(b"..") for path in changed):
                # outside of the root, or Kubernetes' `..data`: symbolic links may point elsewhere now
                return

    def _events(self) -> Iterator[set[tuple[watchfiles.Change, str]]]:
        return watchfiles.watch(
            self._root,
            watch_filter=None,
            debounce=5 * GATHER,
            step=GATHER,
            rust_timeout=LOOK,
            yield_on_timeout=True,
            stop_event=self._stopping,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )

    def _scan_again(self, changed: Collection[bytes] = ()) -> None:
        """Scan the changed paths, and those that have settled, or end a change that is complete."""
        now = time.monotonic()
        settled = {path for path, (due, _) in self._unsettled.items() if due <= now}
        if changed or settled or (self._changing and self._complete_at <= now):
            self._scan(*sorted(settled.union(changed)), reread=True, settled=not changed)

    def _scan(self, *paths: bytes, reread: bool = False, settled: bool = False) -> None:
        """Pass on what changed at the paths and below; the first snapshot is complete once no path is unsettled.

        `settled`: nothing there has changed for a while.
        """
        now = time.monotonic()
        if self._take_confirmation():
            self._tree.mounts.accept()
        updates: list[Update] = []
        was_synced = self._synced
        for update in chain.from_iterable(self._updates_below(path, reread, now) for path in paths):
            updates.append(update)
            if len(updates) >= PART:
                self._on_update(self._with_passing_doubt(updates, now, settled) if was_synced else updates, False)
                updates = []
        # a missing root is not an empty tree
        answered = b"" not in self._unreadable or self._last_good.has_copy
        synced = answered and not self._synced and not self._unsettled
        if synced:
            self._last_good.complete(self._tree.paths())
            self._synced = True
        if self._unreadable:
            updates[:0] = self._doubt_copy() if synced else []
        else:
            updates.extend(self._end_doubt_of_copy())
        if was_synced:
            updates = self._with_passing_doubt(updates, now, settled)
        if self._last_good.unknown:
            self._last_good.read(self._tree.paths(), self._unreadable)
        self._on_update(updates, synced)
        if b"" in paths and b"" not in self._unreadable:
            self.known = now
        self._last_good.save()
        if self._synced and not self._unreadable:
            self._last_good.renew()
        self._record.put(_MOUNTS, self._tree.mounts.places)
        if self._once and self._synced:
            self._stopping.set()

    def _with_passing_doubt(self, updates: list[Update], now: float, settled: bool) -> list[Update]:
        """Return the updates after the doubt that begins with them, or before the end of it."""
        if updates and not settled:
            self._complete_at = now + SETTLE
        changing = bool(self._unsettled) or now < self._complete_at
        if changing == self._changing:
            return updates
        self._changing = changing
        if changing:
            return [SourceDoubt("files are being written", DoubtKind.CHANGE), *updates]
        return [*updates, SourceDoubt(None, DoubtKind.CHANGE)]

    def _updates_below(self, path: bytes, reread: bool, now: float) -> Iterator[KeyUpdate]:
        readable = {known for known in self._unreadable if is_below(known, path)}
        for entry in self._tree.scan(path, reread=reread):
            readable.discard(entry.path)
            yield from self._updates(entry, now)
        for known in readable:
            self._unreadable.discard(known)
            yield KeyUpdate(known, None, None, ())
        if path in self._unsettled and self._unsettled[path][0] <= now:
            del self._unsettled[path]  # its file was not found: it is unreadable

    def _updates(self, entry: Entry, now: float) -> Iterator[KeyUpdate]:
        if entry.error:
            self._unreadable.add(entry.path)
            yield from self._last_good.unreadable(entry.path, entry.error)
            return
        # must not be recorded as a last good value before it has settled
        blank = not isinstance(entry.raw, Oversized) and not (entry.raw or b"").strip()
        update = None if blank else self._last_good.put(entry.path, entry.raw)
        doubtful = update is None or any(problem.fatal for problem in update.problems)
        if doubtful and not self._has_settled(entry, now):
            return
        self._unsettled.pop(entry.path, None)
        self._unreadable.discard(entry.path)
        if entry.raw is None:
            self._tree.forget(entry.path)
        yield update or self._last_good.put(entry.path, entry.raw)

    def _has_settled(self, entry: Entry, now: float) -> bool:
        """Return whether the file has been so for a while; if not, have it scanned again."""
        if parse_key(entry.path) is None:
            return True
        due, raw = self._unsettled.get(entry.path, (now + SETTLE, entry.raw))
        if raw != entry.raw:
            due = now + SETTLE
        self._unsettled[entry.path] = (due, entry.raw)
        return due <= now
