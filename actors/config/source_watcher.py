"""What the watchers of sources have in common: a follower in a thread of its own."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pykka

from actors.base.threaded_actor import ThreadedActor
from actors.config.messages import SourceUpdate
from actors.link.messages import ConfigMessage, ProblemsAre, ProblemsKey, ValueIs
from clusterf.config.problems import Problem
from clusterf.sources.follower import Follower, OnUpdate
from clusterf.sources.last_good import KeyUpdate, describe

__all__ = ["SourceWatcher", "Voice"]

log = logging.getLogger(__name__)


class SourceWatcher(ThreadedActor):
    """Tell `publisher` what a source says, under the source's number; `follow` makes what follows it."""

    def __init__(
        self, number: int, url: str, publisher: pykka.ActorRef[Any], follow: Callable[[OnUpdate], Follower]
    ) -> None:
        super().__init__(f"source {url}")
        self._number = number
        self._voice = Voice(url)
        self._publisher = publisher
        self._follower = follow(self._say)

    def work(self) -> None:
        """Follow the source."""
        self._follower.run()

    def stop_work(self) -> None:
        """Stop following it."""
        self._follower.stop()

    def reload(self) -> None:
        """Read everything again."""
        self._follower.reload()

    def _say(self, said: list[KeyUpdate], synced: bool) -> None:
        messages: list[ConfigMessage] = [m for one in said for m in self._voice.messages(one)]
        self._publisher.tell(SourceUpdate(self._number, tuple(messages), synced))


class Voice:
    """Speaks for the source at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        # what was wrong with paths when they were last spoken of
        self._problems: dict[bytes, tuple[Problem, ...]] = {}

    def messages(self, said: KeyUpdate) -> Iterator[ConfigMessage]:
        """Yield what `said` means to others, logging problems that are new."""
        if said.key is not None and not said.unchanged:
            yield ValueIs(said.key, said.value)
        if said.problems == self._problems.get(said.path, ()):
            return
        if said.problems:
            self._problems[said.path] = said.problems
        else:
            del self._problems[said.path]
        for line in describe(said):
            log.warning("%s", line)
        yield ProblemsAre(ProblemsKey(self._url, said.path), said.problems)
