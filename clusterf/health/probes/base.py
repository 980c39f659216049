"""The base of all probes: started once, ended once, and never longer than the check's timeout."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import monotonic
from typing import Final

from clusterf.health.probes import reasons
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.text import printable

__all__ = ["Probe"]

_LONGEST: Final = 200  # characters of a reason
_LATE: Final = 0.1  # seconds by which a timeout may be noticed late, or half of the timeout if that is longer


class Probe(ABC):
    """One probe of a target. `ended` is called once with its result, from the loop, never from `begin`."""

    __slots__ = ("_ended", "_loop", "_started", "_timer", "cost", "target")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, target: Target, ended: Callable[["Probe", ProbeResult], None]
    ) -> None:
        self.target = target
        # the CPU time that it has cost, in seconds
        self.cost = 0.0
        self._loop = loop
        self._ended = ended
        self._started = 0.0
        # of the timeout; None before the probe has started and once it has ended
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start the probe and its timeout."""
        self._started = monotonic()
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
        """Fail by timeout, unless this process was stalled: then a response may be there that it has not read."""
        timeout = self.target.check.timeout
        if monotonic() > self._started + timeout + max(_LATE, timeout / 2):
            self._end(reasons.STALLED, local=True)
        else:
            self._fail(reasons.TIMEOUT)

    def _fail_by(self, error: int | None) -> None:
        """Fail with the reason for an errno."""
        self._end(reasons.of_errno(error), local=reasons.is_local(error))

    def _end(self, reason: str, *, local: bool = False) -> None:
        if self.abandon():
            shown = printable(reason, _LONGEST)
            self._ended(self, ProbeResult(not reason, shown, monotonic() - self._started, local))
