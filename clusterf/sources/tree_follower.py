"""Following a configuration tree on disk: what it says, as it changes.

inotify tells where to look. A look at the whole tree from time to time, by
time stamps, finds what inotify cannot tell (an overflow of its queue, a network
file system, a symbolic link that leads elsewhere).

A file that is being written in place is empty or half there for a moment. Half
a JSON object is never a whole one, so a value that is empty or cannot be used
is believed only when its file has rested for a while.
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

SETTLE = 0.5  # seconds that a file must have rested before an empty or a bad value in it is believed
GATHER = 10  # milliseconds within which events count as one
LOOK = 250  # milliseconds; how often to see whether the root is still the same directory
OVERFLOW = 4096  # events at once, after which some may have been lost (inotify queues 16,384)
PART = 1000  # of what is found, said at a time


class TreeFollower(Follower):
    """Follows the tree below `root`; with `once` only until it has said all of it."""

    def __init__(
        self, url: str, root: Path, state_file: Path | None, interval: float, say: OnUpdate, *, once: bool = False
    ) -> None:
        super().__init__(url, state_file, interval, say)
        self._once = once
        self._root = root
        self._tree = FileTree(root)
        self._patience = Backoff(initial=LOOK / 1000, longest=5)
        # paths to look at again: when, and what was there
        self._unsettled: dict[bytes, tuple[float, bytes]] = {}
        # paths, of directories too, that could not be read
        self._unreadable: set[bytes] = set()

    def _follow(self) -> None:
        self._look(b"", reread=True)
        while not self._stopping.is_set():
            self._follow_root()

    def _follow_root(self) -> None:
        """Follow the root that is there now, until there is another one or none."""
        try:
            self._watch(self._tree.identity())
        except OSError as error:
            if not self._patience.tries:
                log.warning("%s: cannot be followed: %s; what is known stays in force", self._url, error)
            self._look(b"")
            self._stopping.wait(self._patience.next())
        except RuntimeError as error:
            # watchfiles fails on names that are not UTF-8; looking from time to time takes them as they are
            log.debug("%s: watched anew: %s", self._url, error)
            self._look(b"")
            self._stopping.wait(LOOK / 1000)

    def _watch(self, identity: tuple[int, int]) -> None:
        next_scan = 0.0  # at once when inotify has begun, for what happened since the last look
        for changes in self._events():
            if self._tree.identity() != identity:
                return
            self._patience.reset()
            now = time.monotonic()
            if now >= next_scan or self.again.is_set() or len(changes) > OVERFLOW:
                next_scan = self._next_look()
                reread = self.again.is_set()
                self.again.clear()
                self._look(b"", reread=reread)
            settled = {path for path, (due, _) in self._unsettled.items() if due <= now}
            changed = {self._tree.relative(path) for _, path in changes}
            for path in sorted(settled | changed):
                self._look(path, reread=True)
            if any(path.startswith(b"..") for path in changed):
                # outside of the root, or the `..data` of Kubernetes: links of ours may lead elsewhere now
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

    def _look(self, path: bytes, *, reread: bool = False) -> None:
        """Say what is at `path` and below it; at the first time that nothing is unsettled, that this is all."""
        started = time.monotonic()
        readable = {known for known in self._unreadable if is_below(known, path)}
        news: list[KeyUpdate] = []
        for entry in self._tree.look(path, reread=reread):
            readable.discard(entry.path)
            news.extend(self._judge(entry))
            if len(news) >= PART:
                self._say(news, False)
                news = []
        for again in readable:
            self._unreadable.discard(again)
            news.append(KeyUpdate(again, None, None, ()))
        if path in self._unsettled and self._unsettled[path][0] <= started:
            del self._unsettled[path]  # there is no telling what has become of it
        # a tree that is away says nothing, certainly not that it is empty
        answered = b"" not in self._unreadable or self._state.remembers
        synced = answered and not self._synced and not self._unsettled
        if synced:
            self._state.told(self._tree.paths())
            self._synced = True
        if news or synced:
            self._say(news, synced)
        self._state.save()
        if self._once and self._synced:
            self._stopping.set()

    def _judge(self, entry: Entry) -> Iterator[KeyUpdate]:
        if entry.trouble:
            self._unreadable.add(entry.path)
            yield from self._state.unreadable(entry.path, entry.trouble)
            return
        self._unreadable.discard(entry.path)
        rests = self._rests(entry)
        if not rests and not (entry.raw or b"").strip():
            return  # it must not even be remembered as good
        said = self._state.put(entry.path, entry.raw)
        if rests or not any(problem.fatal for problem in said.problems):
            self._unsettled.pop(entry.path, None)
            yield said

    def _rests(self, entry: Entry) -> bool:
        """Tell whether what is at the path has been so for a while; if not, it will be looked at again."""
        if entry.raw is None or parse_key(entry.path) is None:
            return True
        now = time.monotonic()
        due, raw = self._unsettled.get(entry.path, (now + SETTLE, entry.raw))
        # the age is by the clock of the file system, which may be another one than ours
        if entry.age >= SETTLE or (raw == entry.raw and due <= now):
            return True
        self._unsettled[entry.path] = (due if raw == entry.raw else now + SETTLE, entry.raw)
        return False
