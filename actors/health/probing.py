"""Probing, within the event loop of a health process: of targets when they are due, of references when needed."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial

from clusterf.health.authorities import Authorities
from clusterf.health.monitor import Monitor, Transition
from clusterf.health.references import ProbeStarter, References
from clusterf.health.report import OutageReport
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint

__all__ = ["Probing"]

log = logging.getLogger(__name__)

TICK = 0.01  # seconds; wake-ups are rounded up to it, so that probes share them


class Probing:
    """Probes the targets of `monitor`, and calls `changed` with the transitions that follow. For the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        monitor: Monitor,
        prober: ProbeStarter,
        references: Sequence[Endpoint],
        changed: Callable[[list[Transition]], None],
    ) -> None:
        self._loop = loop
        self._monitor = monitor
        self._prober = prober
        self._changed = changed
        self._references = References(
            references, loop, prober, lambda: monitor.needs_references, self._references_responded
        )
        self._outage_report = OutageReport(monitor, self._references)
        # when probes are started next, on the clock of `time.monotonic`
        self._wake_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def schedule(self) -> None:
        """Have the next probes started in time. To be called after targets were added to the monitor."""
        at = self._monitor.wake_at()
        if at is None or at >= self._wake_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wake_at = at
        # rounded up, so that probes are due by then
        ticks = math.ceil(max(0.0, at - time.monotonic()) / TICK)
        self._timer = self._loop.call_later(ticks * TICK, self._start_probes)

    def set_authorities(self, path: str, authorities: Authorities | None) -> None:
        """Have probes trust what is known of a file of authorities; None: no check names it."""
        self._prober.set_authorities(path, authorities)

    def close(self) -> None:
        """Abandon all probes, and start no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._prober.close()

    def _start_probes(self) -> None:
        self._timer, self._wake_at = None, math.inf
        for target in self._monitor.take(time.monotonic()):
            self._prober.start(target, partial(self._finished, target))
        self.schedule()

    def _finished(self, target: Target, result: ProbeResult) -> None:
        self._proceed(self._monitor.finished(target, result, time.monotonic(), time.time()))

    def _references_responded(self, ok: bool) -> None:
        self._proceed(self._monitor.references_responded(ok, time.monotonic(), time.time()))

    def _proceed(self, transitions: list[Transition]) -> None:
        if transitions:
            self._changed(transitions)
        self._references.probe_if_needed()
        for level, line in self._outage_report.update(time.monotonic()):
            log.log(level, "health: %s", line)
        self.schedule()
