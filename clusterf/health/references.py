"""Asking the references, which tell whether a fault is the network's of this node."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from clusterf.config.model import HealthCheck
from clusterf.health.self_outage import REFERENCE_INTERVAL
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint

__all__ = ["Prober", "References"]

# a network that is well answers sooner; and until there is an answer, verdicts wait
_CHECK = HealthCheck(type="tcp", timeout=1.0)


class Prober(Protocol):
    """What probes, within an event loop."""

    def start(self, target: Target, done: Callable[[ProbeResult], None]) -> None:
        """Begin a probe; `done` is called later, once, in the loop's thread."""

    def close(self) -> None:
        """Abandon all that is under way."""


class References:
    """Asks them for as long as `doubtful`, at most every `REFERENCE_INTERVAL`.

    `answered` is called when one of them answers, or with False when none has.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        loop: asyncio.AbstractEventLoop,
        prober: Prober,
        doubtful: Callable[[], bool],
        answered: Callable[[bool], None],
    ) -> None:
        self._targets = [Target(at, _CHECK) for at in endpoints]
        self._loop = loop
        self._prober = prober
        self._doubtful = doubtful
        self._answered = answered
        # whether a question is open, or about to be asked
        self._asking = False
        # when the last one was asked, on the clock of `time.monotonic`; its number, and how many have not answered it
        self._asked = -math.inf
        self._number = 0
        self._left = 0

    def __str__(self) -> str:
        return ", ".join(str(target.endpoint) for target in self._targets)

    def heed(self) -> None:
        """See to it that they are asked if there is doubt."""
        if self._asking or not self._doubtful():
            return
        self._asking = True
        delay = self._asked + REFERENCE_INTERVAL - time.monotonic()
        if delay > 0:
            self._loop.call_later(delay, self._ask)
        else:
            self._ask()

    def _ask(self) -> None:
        if not self._doubtful():
            self._asking = False
            return
        self._asked = time.monotonic()
        self._number += 1
        self._left = len(self._targets)
        for target in self._targets:
            self._prober.start(target, partial(self._hear, self._number))

    def _hear(self, number: int, outcome: ProbeResult) -> None:
        # what comes after the first answer, or is said to an earlier question, is too late
        if number != self._number or not self._left:
            return
        self._left = 0 if outcome.ok else self._left - 1
        if not self._left:
            self._asking = False
            self._answered(outcome.ok)
