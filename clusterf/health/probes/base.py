"""The base of all probes: started once, ended once, and never longer than the check's timeout.

What counts is the time in which this process ran (see `pauses`), up to a limit: a target that
would have had a response read in time has not failed.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from clusterf.health.probes import reasons
from clusterf.health.probes.pauses import Pauses
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.text import printable

__all__ = ["Probe"]

_LONGEST: Final = 200  # characters of a reason
_LONGEST_PAUSE: Final = 5.0  # seconds for which a probe waits in all because this process did not run
_ROUNDING: Final = 0.001  # seconds that a timer may expire too early


class Probe(ABC):
    """One probe of a target. `ended` is called once with its result, from the loop, never from `begin`."""

    __slots__ = ("_ended", "_loop", "_paused", "_pauses", "_started", "_timer", "cost", "target")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        ended: Callable[["Probe", ProbeResult], None],
        pauses: Pauses,
    ) -> None:
        self.target = target
        # the CPU time that it has cost, in seconds
        self.cost = 0.0
        self._loop = loop
        self._ended = ended
        self._started = 0.0
        self._pauses = pauses
        # their sum when it started
        self._paused = 0.0
        # of the timeout; None before the probe has started and once it has ended
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start the probe and its timeout."""
        self._started, self._paused = self._loop.time(), self._pauses.total()
        self._timer = self._loop.call_later(self.target.check.timeout, self._expire)
        try:
            self._open()
        except OSError as error:
            self._loop.call_soon(self._fail_by, error.errno)

    def abandon(self) -> bool:
        """End without a result. Returns False if the probe has ended already."""
        if self._timer is None:
            return False
        self._timer.cancel()
        self._timer = None
        self._release()
        return True

    @abstractmethod
    def _open(self) -> None:
        """Do the first step. Raises OSError if it fails."""

    @abstractmethod
    def _release(self) -> None:
        """Release everything that the probe holds."""

    def _succeed(self) -> None:
        self._end("")

    def _fail(self, reason: str) -> None:
        self._end(reason)

    def _expire(self) -> None:
        """Fail by timeout, unless this process did not run for a part of it: the target has as much more time."""
        paused = self._pauses.total() - self._paused + self._held_up()
        left = self.target.check.timeout - (self._loop.time() - self._started - paused)
        if left <= _ROUNDING:
            self._fail(reasons.TIMEOUT)
        elif paused > _LONGEST_PAUSE:
            self._end(reasons.STALLED, local=True)
        else:
            self._timer = self._loop.call_later(left, self._expire)

    def _held_up(self) -> float:
        """Return for how many seconds it did not go on because of this process, beside pauses."""
        return 0.0

    def _fail_by(self, error: int | None) -> None:
        """Fail with the reason for an errno."""
        self._end(reasons.of_errno(error), local=reasons.is_local(error))

    def _end(self, reason: str, *, local: bool = False) -> None:
        if self.abandon():
            shown = printable(reason, _LONGEST)
            self._ended(self, ProbeResult(not reason, shown, self._loop.time() - self._started, local))
