"""HealthChecker: probes the backends of one shard, and says what that has shown.

It follows the configuration link for what is to be probed, and publishes one
verdict for each backend and endpoint on a link of its own. What to probe, when,
and what follows from it is decided by `clusterf.health.targets` and
`clusterf.health.monitor`; the probes are `clusterf.health.probes`'. All of it happens in one
thread, which runs an event loop.

The state of the link and the record on disk are the same thing: whatever is
told is published and then written down, all of a turn of the loop at once.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from actors.base.asyncio_actor import AsyncioActor
from actors.link.messages import ProblemsAre, Received, RouteIs, Synced, VerdictIs
from actors.link.publisher import Publisher
from actors.link.subscription import Subscription
from clusterf.config.model import BackendKey
from clusterf.health.monitor import Monitor, Transition
from clusterf.health.references import Prober, References
from clusterf.health.report import describe
from clusterf.health.targets import Change, Target, Targets
from clusterf.health.verdict import ProbeResult, StoredVerdict
from clusterf.health.verdict_store import VerdictKey, VerdictStore
from clusterf.lib.addresses import Endpoint

__all__ = ["HealthChecker", "Sockets"]

log = logging.getLogger(__name__)

PART = 500  # backends whose targets may have changed, at a time
TICK = 0.01  # seconds, in which the loop counts time: so that a wake-up is shared by some probes


class Sockets(NamedTuple):
    """The sockets of the configuration that is followed, and of the verdicts that are published."""

    config: Path
    verdicts: Path


class HealthChecker(AsyncioActor):
    """Keep verdicts on `targets`. The `references` tell a fault of this node's network from one of theirs."""

    def __init__(
        self,
        links: Sockets,
        targets: Targets,
        references: Sequence[Endpoint],
        open_record: Callable[[], VerdictStore],
        new_prober: Callable[[asyncio.AbstractEventLoop], Prober],
    ) -> None:
        super().__init__()
        self._subscription = Subscription(links.config, self.actor_ref.tell)
        self._publisher = Publisher(links.verdicts)
        self._targets = targets
        self._endpoints = references
        self._monitor = Monitor(references=bool(references))
        self._open_record = open_record
        self._new_prober = new_prober
        # the targets that the monitor has
        self._watched: set[Target] = set()
        # what earlier processes have left us, until all is known that is to be probed
        self._remembered: dict[VerdictKey, StoredVerdict] = {}
        # whether the configuration was told as a whole once, and whether that has been worked off
        self._synced = False
        self._settled = False
        # whether one has told oneself to work on, and that has not arrived yet
        self._working = False
        # when probes are started next, on the clock of `time.monotonic`
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None
        # since when verdicts have been frozen, on the same clock; and whether the references are heeded
        self._frozen_since: float | None = None
        self._believed = True
        # what is to be told at the end of this turn of the loop
        self._news: dict[VerdictKey, StoredVerdict | None] = {}
        self._transitions: list[Transition] = []

    def on_start(self) -> None:
        """Take up what is remembered, and begin to follow the configuration."""
        super().on_start()
        self._prober = self._new_prober(self.loop)
        self._references = References(
            self._endpoints, self.loop, self._prober, lambda: self._monitor.questioned, self._heed_references
        )
        self._record = self._open_record()
        self._remembered = self._record.load()
        self._publisher.start()
        self._subscription.start()

    def on_stop(self) -> None:
        """Hang up; the last verdicts stay in force."""
        self._subscription.stop()
        self._publisher.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._prober.close()
        super().on_stop()
        self._record.close()

    def receive(self, message: Any) -> None:
        """Take in what was received, or do the next part of the work on it."""
        match message:
            case Received():
                self._take_in(message)
            case _Work():
                self._working = False
                self._work()
            case _:
                super().receive(message)

    def _take_in(self, received: Received) -> None:
        for message in received.messages:
            match message:
                case Synced():
                    self._synced = True
                case ProblemsAre() | RouteIs():
                    pass
                case VerdictIs():
                    raise TypeError(f"the configuration holds no {message!r}")
                case _:
                    self._targets.update(message.key, message.value)
        self._subscription.acknowledge()
        # before all is known, a backend may seem to have another check than it has
        if self._synced:
            self._work_soon()

    def _work_soon(self) -> None:
        if not self._working:
            self._working = True
            self.actor_ref.tell(_Work())

    def _work(self) -> None:
        """Watch what is to be watched now, a part at a time: the probes have their turn in between."""
        self._change(self._targets.flush(PART))
        whole = not self._targets.pending
        self._tell(synced=whole)
        if not whole:
            self._work_soon()
        elif not self._settled:
            self._settle()
        self._wake()

    def _change(self, changes: Iterable[Change]) -> None:
        now = time.monotonic()
        left: dict[Target, None] = {}
        for key, before, after, inherits in changes:
            if before is not None:
                left[before] = None
                self._news[_place(key, before)] = None
            if after is not None:
                if after not in self._watched:
                    self._watched.add(after)
                    memory = self._remembered.get(_place(key, after))
                    self._monitor.watch(after, now, heir_of=before if inherits else None, memory=memory)
                self._news[_place(key, after)] = self._monitor.memory(after)
        # not before their heirs have come, and only those that nobody else has come to need
        for target in left:
            if not self._targets.backends(target):
                self._watched.discard(target)
                self._monitor.forget(target)

    def _settle(self) -> None:
        """Forget what was remembered of backends that are no more: all there are have been told."""
        self._settled = True
        self._remembered = {}
        self._record.settle()
        if self._watched:
            log.info("health: probing %d targets, %d verdicts are known", len(self._watched), len(self._publisher))

    def _wake(self) -> None:
        """See to it that the next probes are started in time."""
        at = self._monitor.wake_at()
        if at is None or at >= self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = at
        # rounded up, so that there is something to start then
        ticks = math.ceil(max(0.0, at - time.monotonic()) / TICK)
        self._timer = self.loop.call_later(ticks * TICK, self._start_probes)

    def _start_probes(self) -> None:
        self._timer, self._due = None, math.inf
        for target in self._monitor.take(time.monotonic()):
            self._prober.start(target, partial(self._finished, target))
        self._wake()

    def _finished(self, target: Target, outcome: ProbeResult) -> None:
        self._go_on(self._monitor.finished(target, outcome, time.monotonic(), time.time()))

    def _heed_references(self, ok: bool) -> None:
        self._go_on(self._monitor.answered(ok, time.monotonic(), time.time()))

    def _go_on(self, transitions: list[Transition]) -> None:
        """See to what follows from a probe."""
        if transitions:
            if not self._transitions:
                self.loop.call_soon(self._tell)
            self._transitions += transitions
        self._references.heed()
        self._report_doubt()
        self._wake()

    def _report_doubt(self) -> None:
        frozen, believed = self._monitor.frozen, self._monitor.believed
        if frozen and self._frozen_since is None:
            self._frozen_since = time.monotonic()
            log.error(
                "health: most targets fail, and no reference answers (%s): the fault is taken to be ours, "
                "and the verdicts on %d targets stay as they are",
                *(self._references, len(self._watched)),
            )
        elif not frozen and self._frozen_since is not None:
            seconds, self._frozen_since = time.monotonic() - self._frozen_since, None
            why = "a reference answers" if believed else "most targets succeed"
            log.warning("health: %s: after %.1f seconds, verdicts change again", why, seconds)
        if believed != self._believed:
            self._believed = believed
            if believed:
                log.warning("health: a reference answers: they are heeded again")
            else:
                log.error("health: no reference answers (%s): until one does, they are not heeded", self._references)

    def _tell(self, *, synced: bool = False) -> None:
        """Publish what is new, then write it down, then log it."""
        transitions, self._transitions = self._transitions, []
        for transition in transitions:
            for key in self._targets.backends(transition.target):
                self._news[_place(key, transition.target)] = self._monitor.memory(transition.target)
        news, self._news = self._news, {}
        said = (VerdictIs(*place, memory.verdict if memory is not None else None) for place, memory in news.items())
        self._publisher.publish(said, synced=synced)
        self._record.record(news)
        for transition in transitions:
            level = logging.INFO if transition.verdict.up else logging.WARNING
            for line in describe(transition, self._targets.backends(transition.target)):
                log.log(level, "health: %s", line)


class _Work:
    """What the checker tells itself: bring some more targets to where they are to be."""


def _place(key: BackendKey, target: Target) -> VerdictKey:
    return key.service, key.backend, target.endpoint
