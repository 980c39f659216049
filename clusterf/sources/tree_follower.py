"""Following a configuration tree on disk.

inotify names the paths to scan. A scan of the whole tree at an interval, by time
stamps, finds what inotify misses (an overflow of its queue, a network file system,
a symbolic link that points elsewhere).

A file that is written in place is empty or incomplete for a moment. A part of a
JSON object is never a valid one, so an empty or invalid value is believed only once
its file has not changed for a while.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import watchfiles

from clusterf.config.keys import parse_key
from clusterf.lib.backoff import Backoff
from clusterf.lib.store import is_below
from clusterf.sources.follower import Follower, OnUpdate
from clusterf.sources.last_good import KeyUpdate
from clusterf.sources.tree import Entry, FileTree

__all__ = ["TreeFollower"]

log = logging.getLogger(__name__)

SETTLE = 0.5  # seconds without a change before an empty or invalid value is believed
GATHER = 10  # milliseconds within which events are handled together
LOOK = 250  # milliseconds between checks whether the root is still the same directory
OVERFLOW = 4096  # events at once; with more, some may have been lost (inotify queues 16,384)
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
        # paths to scan again: when, and the bytes found
        self._unsettled: dict[bytes, tuple[float, bytes]] = {}
        # paths of files and directories that are unreadable
        self._unreadable: set[bytes] = set()

    def _follow(self) -> None:
        self._scan(b"", reread=True)
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
            self._stopping.wait(self._backoff.next())
        except RuntimeError as error:
            # watchfiles fails on names that are not UTF-8; scans find them
            log.debug("%s: watch restarted: %s", self._url, error)
            self._scan(b"")
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
            settled = {path for path, (due, _) in self._unsettled.items() if due <= now}
            changed = {self._tree.relative(path) for _, path in changes}
            for path in sorted(settled | changed):
                self._scan(path, reread=True)
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

    def _scan(self, path: bytes, *, reread: bool = False) -> None:
        """Pass on what changed at `path` and below it; the first snapshot is complete once no path is unsettled."""
        started = time.monotonic()
        readable = {known for known in self._unreadable if is_below(known, path)}
        updates: list[KeyUpdate] = []
        for entry in self._tree.scan(path, reread=reread):
            readable.discard(entry.path)
            updates.extend(self._updates(entry))
            if len(updates) >= PART:
                self._on_update(updates, False)
                updates = []
        for known in readable:
            self._unreadable.discard(known)
            updates.append(KeyUpdate(known, None, None, ()))
        if path in self._unsettled and self._unsettled[path][0] <= started:
            del self._unsettled[path]  # its file was not found: it is gone or unreadable
        # a missing root is not an empty tree
        answered = b"" not in self._unreadable or self._last_good.has_copy
        synced = answered and not self._synced and not self._unsettled
        if synced:
            self._last_good.complete(self._tree.paths())
            self._synced = True
        if updates or synced:
            self._on_update(updates, synced)
        self._last_good.save()
        if self._once and self._synced:
            self._stopping.set()

    def _updates(self, entry: Entry) -> Iterator[KeyUpdate]:
        if entry.error:
            self._unreadable.add(entry.path)
            yield from self._last_good.unreadable(entry.path, entry.error)
            return
        self._unreadable.discard(entry.path)
        settled = self._is_settled(entry)
        if not settled and not (entry.raw or b"").strip():
            return  # must not be recorded as a last good value
        update = self._last_good.put(entry.path, entry.raw)
        if settled or not any(problem.fatal for problem in update.problems):
            self._unsettled.pop(entry.path, None)
            yield update

    def _is_settled(self, entry: Entry) -> bool:
        """Return whether the file has not changed for a while; if it has, have it scanned again."""
        if entry.raw is None or parse_key(entry.path) is None:
            return True
        now = time.monotonic()
        due, raw = self._unsettled.get(entry.path, (now + SETTLE, entry.raw))
        # the age is by the clock of the file system, which may differ from ours
        if entry.age >= SETTLE or (raw == entry.raw and due <= now):
            return True
        self._unsettled[entry.path] = (due if raw == entry.raw else now + SETTLE, entry.raw)
        return False
