"""Probing the references, which tell an outage of this node's network from one of the targets."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from clusterf.config.model import HealthCheck
from clusterf.health.authorities import Authorities
from clusterf.health.self_outage import REFERENCE_INTERVAL
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint

__all__ = ["ProbeStarter", "References"]

# a short timeout: a network that works responds sooner, and verdicts wait for the response
_CHECK = HealthCheck(type="tcp", timeout=1.0)


class ProbeStarter(Protocol):
    """Starts probes within an event loop, as `clusterf.health.probes.Prober` does."""

    def start(self, target: Target, done: Callable[[ProbeResult], None]) -> None:
        """Start a probe; `done` is called once with its result, later, in the loop's thread."""

    def set_authorities(self, path: str, authorities: Authorities | None) -> None:
        """Trust what is known of a file of authorities, in the probes that need it; None: no check names it."""

    def close(self) -> None:
        """Abandon all probes that are under way."""


class References:
    """Probes all references at once, at most every `REFERENCE_INTERVAL`, for as long as they are `needed`.

    `responded` is called with True when the first of them responds, or with False when all have failed.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        loop: asyncio.AbstractEventLoop,
        prober: ProbeStarter,
        needed: Callable[[], bool],
        responded: Callable[[bool], None],
    ) -> None:
        self._targets = [Target(at, _CHECK) for at in endpoints]
        self._loop = loop
        self._prober = prober
        self._needed = needed
        self._responded = responded
        # whether a round of probes is under way or scheduled
        self._busy = False
        # when the last round started, on the clock of `time.monotonic`; its number, and how many of it have not ended
        self._started_at = -math.inf
        self._round = 0
        self._pending = 0

    def __str__(self) -> str:
        return ", ".join(str(target.endpoint) for target in self._targets)

    def probe_if_needed(self) -> None:
        """Start a round of probes, or schedule it for the end of the interval, if the references are needed."""
        if self._busy or not self._needed():
            return
        self._busy = True
        delay = self._started_at + REFERENCE_INTERVAL - time.monotonic()
        if delay > 0:
            self._loop.call_later(delay, self._start_round)
        else:
            self._start_round()

    def _start_round(self) -> None:
        if not self._needed():
            self._busy = False
            return
        self._started_at = time.monotonic()
        self._round += 1
        self._pending = len(self._targets)
        for target in self._targets:
            self._prober.start(target, partial(self._finished, self._round))

    def _finished(self, number: int, result: ProbeResult) -> None:
        # the first response ends a round: later results of it, and those of earlier rounds, are dropped
        if number != self._round or not self._pending:
            return
        self._pending = 0 if result.ok else self._pending - 1
        if not self._pending:
            self._busy = False
            self._responded(result.ok)
