"""SourceWatcher: follows one source of configuration, in a thread of its own."""

import logging
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any

import pykka

from actors.base.messages import KeepState
from actors.base.threaded_actor import ThreadedActor
from actors.config.messages import SourceKnown, SourceUpdate
from actors.link.messages import ConfigMessage, DoubtIs, DoubtKey, ProblemsAre, ProblemsKey, ValueIs
from clusterf.lib.log_once import LogOnce
from clusterf.lib.punctual import PunctualTimer
from clusterf.lib.store import KEEP_INTERVAL
from clusterf.sources.doubt import SourceDoubt
from clusterf.sources.follower import Follower, OnUpdate, Update
from clusterf.sources.last_good import describe

__all__ = ["SourceWatcher"]

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between signs that this process runs, and follows its sources


class _Self(Enum):
    """The watcher's messages to itself."""

    TELL_KNOWN = auto()


class SourceWatcher(ThreadedActor):
    """Tells `publisher` of updates of the source at `url`; `follow` makes the follower of the source.

    `number` is the source's place in the order of `--config-source`. A problem
    is logged, and published, when it is new.
    """

    def __init__(
        self, number: int, url: str, publisher: pykka.ActorRef[Any], follow: Callable[[OnUpdate], Follower]
    ) -> None:
        super().__init__(f"source {url}")
        self._number = number
        self._url = url
        self._publisher = publisher
        self._follower = follow(self._on_update)
        self._timer = PunctualTimer(lambda seconds: self.tell_later(seconds, _Self.TELL_KNOWN))
        # the problems of each path
        self._problems = LogOnce(log)

    def on_start(self) -> None:
        """Begin to follow the source."""
        self.tell_later(KEEP_INTERVAL, KeepState())
        self._set_timer()
        super().on_start()

    def receive(self, message: Any) -> None:
        """Keep the last good values."""
        match message:
            case KeepState():
                self._follower.keep_state()
                self.tell_later(KEEP_INTERVAL, KeepState())
            case _Self.TELL_KNOWN:
                if self._timer.expired(time.monotonic()):
                    self._publisher.tell(SourceKnown(self._number, self._follower.known))
                    self._set_timer()
            case _:
                super().receive(message)

    def work(self) -> None:
        """Follow the source."""
        self._follower.run()

    def stop_work(self) -> None:
        """Stop following it."""
        self._follower.stop()

    def reload(self) -> None:
        """Read the whole source again."""
        self._follower.reload()

    def confirm(self) -> None:
        """Believe the removals that are in doubt."""
        self._follower.confirm()

    def _set_timer(self) -> None:
        now = time.monotonic()
        self._timer.set(now + INTERVAL, now)

    def _on_update(self, updates: list[Update], synced: bool) -> None:
        messages = tuple(message for update in updates for message in self._messages(update))
        self._publisher.tell(SourceUpdate(self._number, messages, synced))

    def _messages(self, update: Update) -> Iterator[ConfigMessage]:
        if isinstance(update, SourceDoubt):
            yield DoubtIs(DoubtKey(self._url, update.kind), update.reason)
            return
        if update.key is not None and not update.unchanged:
            yield ValueIs(update.key, update.value)
        if self._problems.is_new(update.path, update.problems):
            for line in describe(update):
                log.warning("%s", line)
            yield ProblemsAre(ProblemsKey(self._url, update.path), update.problems)
