"""What following a source means, whatever its kind."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from clusterf.lib.jitter import jittered
from clusterf.lib.store import Store
from clusterf.sources.last_good import KeyUpdate, LastGood

__all__ = ["Follower", "OnUpdate"]

OnUpdate = Callable[[list[KeyUpdate], bool], None]
"""Takes what a source says, and whether with this it has for the first time said all it has."""


class Follower(ABC):
    """Follows the source at `url` in the thread that calls `run`, and says what that says.

    What is good is kept in `state_file`, if there is one. Everything is looked
    at again about every `interval` seconds, and when `again` is set.
    """

    def __init__(self, url: str, state_file: Path | None, interval: float, say: OnUpdate) -> None:
        self.again = threading.Event()
        self._stopping = threading.Event()
        self._url = url
        self._state_file = state_file
        self._interval = interval
        self._say = say
        # whether the source, or its copy, has said all it has
        self._synced = False

    def stop(self) -> None:
        """Have `run` return soon; may be called by any thread."""
        self._stopping.set()

    def run(self) -> None:
        """Follow until told to stop."""
        store = Store(self._state_file)
        self._state = LastGood(self._url, store)
        try:
            self._follow()
        finally:
            store.close()

    @abstractmethod
    def _follow(self) -> None:
        """Follow the source until `_stopping`."""

    def _next_look(self) -> float:
        """Return when to look at everything again, on the clock of `time.monotonic`."""
        return time.monotonic() + jittered(self._interval)
