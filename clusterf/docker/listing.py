"""Full lists of an engine: when one is due, and when it is complete."""

import time
from collections.abc import Iterable

from clusterf.docker.inventory import Inspection
from clusterf.lib.jitter import jittered

__all__ = ["Listing"]


class Listing:
    """The list under way, and when the next one is due: about every `interval` seconds.

    A list is complete when the engine has answered it, and every inspection
    that the answer called for. `present` are the ids that are in the list or
    were inspected since it began; `completed` tells whether any list was
    completed yet.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._due = 0.0
        # the list was begun, and it was answered
        self._running = self._answered = False
        self._awaited: set[Inspection] = set()
        self.present: set[str] = set()
        self.completed = False

    @property
    def wait(self) -> float:
        """The seconds until the next list is due, at least 0."""
        return max(0.0, self._due - time.monotonic())

    def begin(self) -> None:
        """Begin a new list; one that is under way is abandoned."""
        self._due = time.monotonic() + jittered(self._interval)
        self._running, self._answered = True, False
        self._awaited.clear()
        self.present = set()

    def hasten(self, delay: float = 0.0) -> None:
        """Have the next list begin within `delay` seconds."""
        self._due = min(self._due, time.monotonic() + delay)

    def answer(self, present: Iterable[str], awaited: Iterable[Inspection]) -> None:
        """Record the answer to the list: the ids in it, and the inspections that it calls for."""
        self._answered = True
        self.present.update(present)
        self._awaited.update(awaited)

    def inspecting(self, inspection: Inspection) -> None:
        """Record that an inspection was asked for: what it shows is as new as the list."""
        self.present.add(inspection.id)

    def inspected(self, inspection: Inspection) -> None:
        """Record that an inspection was answered."""
        self._awaited.discard(inspection)

    def complete(self) -> bool:
        """Tell, once for each list, that it is complete."""
        if not self._running or not self._answered or self._awaited:
            return False
        self._running, self.completed = False, True
        return True
