"""The output of a health process: verdicts are published, then stored, then logged."""

import asyncio
import logging
import time

from actors.link.messages import VerdictIs
from actors.link.publisher import Publisher
from clusterf.health.monitor import Transition
from clusterf.health.report import refusal_lines, transition_lines
from clusterf.health.verdict import StoredVerdict
from clusterf.health.verdict_store import VerdictStore
from clusterf.health.watch_list import VerdictUpdates, WatchList
from clusterf.lib.punctual import PunctualTimer
from clusterf.lib.store import KEEP_INTERVAL

__all__ = ["VerdictOutput"]

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between signs that this process runs, and probes


class VerdictOutput:
    """Collects changed verdicts, and writes out all those of one iteration of the event loop at once.

    The state of the link and the stored verdicts are thus always the same.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, watch_list: WatchList, publisher: Publisher, store: VerdictStore
    ) -> None:
        self._loop = loop
        self._watch_list = watch_list
        self._publisher = publisher
        self._store = store
        self._timer = PunctualTimer(lambda seconds: self._loop.call_later(seconds, self._pulse))
        # collected since the last `write`
        self._updates: VerdictUpdates = {}
        self._transitions: list[Transition] = []

    def add(self, updates: VerdictUpdates) -> None:
        """Collect changed verdicts; the caller calls `write`."""
        self._updates.update(updates)

    def add_transitions(self, transitions: list[Transition]) -> None:
        """Collect transitions; they are written at the end of this iteration of the loop."""
        if not self._transitions:
            self._loop.call_soon(self.write)
        self._transitions += transitions

    def write(self, *, synced: bool = False) -> None:
        """Publish, store and log what was collected. `synced`: after that, subscribers know all verdicts."""
        transitions, self._transitions = self._transitions, []
        updates, self._updates = self._updates | self._watch_list.updates(transitions), {}
        messages = (VerdictIs(key, stored.verdict if stored is not None else None) for key, stored in updates.items())
        self._publisher.publish(messages, synced=synced)
        # that a target is not probed is no verdict to be kept
        self._store.record({key: stored if _is_known(stored) else None for key, stored in updates.items()})
        for line in refusal_lines(self._watch_list.take_refused(), self._watch_list.backends):
            log.error("health: %s", line)
        for transition in transitions:
            level = logging.INFO if transition.verdict.up else logging.WARNING
            for line in transition_lines(transition, self._watch_list.backends(transition.target)):
                log.log(level, "health: %s", line)

    def forget_unclaimed(self) -> None:
        """Delete stored verdicts on backends that no longer exist. To be called once all verdicts were written."""
        self._store.forget_unclaimed()

    def keep(self) -> None:
        """Store what could not be stored, now and every KEEP_INTERVAL."""
        self._store.keep()
        self._loop.call_later(KEEP_INTERVAL, self.keep)

    def pulse(self) -> None:
        """Show subscribers from now on that this process runs."""
        now = time.monotonic()
        self._timer.set(now + INTERVAL, now)

    def _pulse(self) -> None:
        if self._timer.expired(time.monotonic()):
            self._publisher.pulse(time.monotonic())
            self.pulse()

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _is_known(stored: StoredVerdict | None) -> bool:
    return stored is not None and stored.verdict.up is not None
