"""FileWatcher: what a configuration tree on disk says, as it changes.

A thread of the actor's own waits for inotify and looks where it points; the
actor itself only starts and stops it. A look at the whole tree from time to
time, by time stamps, finds what inotify cannot tell (an overflow of its queue,
a network file system, a symbolic link that leads elsewhere).

A file that is being written in place is empty or half there for a moment. Half
a JSON object is never a whole one, so a value that is empty or cannot be used
is believed only when its file has rested for a while.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pykka
import watchfiles

from actors.base import Actor
from actors.messages import ProblemsAre, Reload, SourceSaid, StateMessage, object_is
from clusterf.backoff import Backoff
from clusterf.codec import Problem
from clusterf.filetree import Entry, FileTree, below
from clusterf.source import Said, Source, SourceState, describe
from clusterf.state import KeyedStore

__all__ = ["FileWatcher"]

log = logging.getLogger(__name__)

SETTLE = 0.5  # seconds that a file must have rested before an empty or a bad value in it is believed
GATHER = 10  # milliseconds within which events count as one
LOOK = 250  # milliseconds; how often to see whether the root is still the same directory
OVERFLOW = 4096  # events at once, after which some may have been lost (inotify queues 16,384)


class FileWatcher(Actor):
    """Tell `publisher` what the tree says, under this source's number."""

    def __init__(
        self,
        number: int,
        source: Source,
        state_file: Path | None,
        rescan_interval: float,
        publisher: pykka.ActorRef[Any],
    ) -> None:
        super().__init__()
        self._follower = _Follower(
            source,
            state_file,
            rescan_interval,
            lambda messages, synced: publisher.tell(SourceSaid(number, messages, synced)),
        )
        self._thread = threading.Thread(target=self._run, name=f"tree {source.url}")

    def on_start(self) -> None:
        """Begin to follow the tree."""
        self._thread.start()

    def on_stop(self) -> None:
        """Leave the tree."""
        self._follower.stopping.set()
        self._thread.join()

    def receive(self, message: Any) -> None:
        """Read all again if asked to."""
        match message:
            case Reload():
                self._follower.reread.set()
            case _Crashed():
                raise message.error
            case _:
                raise TypeError(f"FileWatcher does not handle {message!r}")

    def _run(self) -> None:
        try:
            self._follower.run()
        except pykka.ActorDeadError:
            log.debug("the publisher is gone, and so am I")
        except Exception as error:  # noqa: BLE001
            # raised again by the actor, where it is noticed
            self.actor_ref.tell(_Crashed(error))


class _Crashed:
    def __init__(self, error: Exception) -> None:
        self.error = error


class _Follower:
    """Follows one tree, in a thread of its own."""

    def __init__(
        self,
        source: Source,
        state_file: Path | None,
        rescan_interval: float,
        say: Callable[[tuple[StateMessage, ...], bool], None],
    ) -> None:
        self.stopping = threading.Event()
        # set to have all files read again, whatever they look like
        self.reread = threading.Event()
        self._source = source
        self._state_file = state_file
        self._interval = rescan_interval
        self._say = say
        self._tree = FileTree(Path(source.path))
        self._patience = Backoff(initial=LOOK / 1000, longest=5)
        # paths to look at again, and when
        self._unsettled: dict[bytes, float] = {}
        # what was wrong with paths when they were last looked at
        self._problems: dict[bytes, tuple[Problem, ...]] = {}
        # those of them, directories too, that could not be read
        self._unreadable: set[bytes] = set()
        self._synced = False

    def run(self) -> None:
        """Read the tree, then follow it until `stopping`."""
        self._store = KeyedStore(self._state_file)
        self._state = SourceState(self._source.url, self._store)
        try:
            self._look(b"", reread=True)
            while not self.stopping.is_set():
                self._follow()
        finally:
            self._store.close()

    def _follow(self) -> None:
        """Follow the root that is there now, until there is another one or none."""
        try:
            identity = self._tree.identity()
            self._look(b"")
            self._watch(identity)
        except OSError as error:
            if not self._patience.tries:
                self._look(b"")
                log.warning("%s: cannot be followed: %s; what is known stays in force", self._source.url, error)
            self.stopping.wait(self._patience.next())
        except RuntimeError as error:
            # watchfiles cannot say names that are not UTF-8; the look around that follows finds them
            log.debug("%s: watched anew: %s", self._source.url, error)

    def _watch(self, identity: tuple[int, int]) -> None:
        next_scan = 0.0  # at once when inotify has begun, for what happened since the last look
        for changes in self._events():
            if self._tree.identity() != identity:
                return
            self._patience.reset()
            now = time.monotonic()
            if now >= next_scan or self.reread.is_set() or len(changes) > OVERFLOW:
                next_scan = now + self._interval * random.uniform(0.8, 1.2)  # noqa: S311
                reread = self.reread.is_set()
                self.reread.clear()
                self._look(b"", reread=reread)
            settled = {path for path, due in self._unsettled.items() if due <= now}
            for path in sorted(settled.union(self._tree.relative(path) for _, path in changes)):
                self._look(path, reread=True)

    def _events(self) -> Iterator[set[tuple[watchfiles.Change, str]]]:
        return watchfiles.watch(
            self._source.path,
            watch_filter=None,
            debounce=5 * GATHER,
            step=GATHER,
            rust_timeout=LOOK,
            yield_on_timeout=True,
            stop_event=self.stopping,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )

    def _look(self, path: bytes, *, reread: bool = False) -> None:
        """Say what is at `path` and below it; at the first time that nothing is unsettled, that this is all."""
        readable = {known for known in self._unreadable if below(known, path)}
        messages: list[StateMessage] = []
        self._unsettled.pop(path, None)
        for entry in self._tree.look(path, reread=reread):
            readable.discard(entry.path)
            for said in self._judge(entry):
                messages.extend(self._messages(said))
        for again in readable:
            self._unreadable.discard(again)
            messages.extend(self._messages(Said(again, None, None, ())))
        synced = not self._synced and not self._unsettled
        if synced:
            self._state.told(self._tree.paths())
            self._synced = True
        if messages or synced:
            self._say(tuple(messages), synced)
        self._state.save()

    def _judge(self, entry: Entry) -> Iterator[Said]:
        if entry.trouble:
            self._unreadable.add(entry.path)
            yield from self._state.unreadable(entry.path, entry.trouble)
            return
        said = self._state.put(entry.path, entry.raw)
        doubtful = entry.raw is not None and said.key is not None and (said.value is None or not entry.raw.strip())
        if doubtful and 0 <= entry.age < SETTLE:
            self._unsettled[entry.path] = time.monotonic() + SETTLE
        else:
            yield said

    def _messages(self, said: Said) -> Iterator[StateMessage]:
        if said.key is not None and not said.keep:
            yield object_is(said.key, said.value)
        if said.problems == self._problems.get(said.path, ()):
            return
        if said.problems:
            self._problems[said.path] = said.problems
        else:
            del self._problems[said.path]
        for line in describe(said):
            log.warning("%s", line)
        yield ProblemsAre(self._source.url, said.path, said.problems)
