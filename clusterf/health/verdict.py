"""The verdict on one target: what a row of probe results makes of it (rise and fall).

Pure: time is an argument.
"""

from typing import NamedTuple

import msgspec

from clusterf.config.model import HealthCheck, Name
from clusterf.lib.addresses import Endpoint

__all__ = ["ProbeResult", "RiseFall", "StoredVerdict", "Verdict", "VerdictKey"]


class ProbeResult(NamedTuple):
    """The result of one probe. `duration` is in seconds; `reason` is why it failed, empty if it did not.

    `local`: the probe failed because of this machine (out of descriptors, no
    such source address), so it says nothing about the target. `cost` is the CPU time
    that the probe has taken, in seconds.
    """

    ok: bool
    reason: str
    duration: float
    local: bool = False
    cost: float = 0.0


class Verdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The state of a target as its probes have shown it: up, or down with the reason of the last failure.

    `up` None: nobody knows, and nobody will, as the target is not probed; the reason tells why.
    `since` is the Unix time, in seconds, at which it got into this state.
    """

    up: bool | None
    since: float
    reason: str = ""


class VerdictKey(NamedTuple):
    """A backend of a service, and the endpoint at which it is probed."""

    service: Name
    backend: Name
    endpoint: Endpoint


class StoredVerdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A verdict as it is kept across restarts. `proven`: the target has been up at least once."""

    verdict: Verdict
    proven: bool


class RiseFall:
    """The verdict on one target, and the streak of results that contradict it.

    Without a verdict, one success makes the target up and `fall` failures in a
    row make it down. A target that is up goes down after `fall` failures in a
    row; one that is down comes up after `rise` successes in a row, or after the
    first one if it has never been up and its check has `initial` "down". The
    opposite result ends a streak. A stored verdict is resumed without its streak.
    """

    __slots__ = ("_fall", "_initially_down", "_proven", "_rise", "streak", "up", "verdict")

    def __init__(self, check: HealthCheck, stored: StoredVerdict | None = None) -> None:
        self._rise, self._fall = check.rise, check.fall
        self._initially_down = check.initial == "down"
        self._proven = stored is not None and (stored.proven or stored.verdict.up is True)
        self.verdict = stored.verdict if stored else None
        # the state in the verdict, None without one
        self.up = self.verdict.up if self.verdict else None
        # the results in a row that contradict the verdict; while there are any, probes follow at the fast interval
        self.streak = 0

    @property
    def stored(self) -> StoredVerdict | None:
        """The verdict to keep across restarts; None without one."""
        return StoredVerdict(self.verdict, self._proven) if self.verdict else None

    def count(self, ok: bool) -> bool:
        """Count a result; return whether the streak is long enough to `switch` the verdict."""
        if ok == self.up:
            self.streak = 0
            return False
        if ok and self.up is None:
            self.streak = 1
            return True
        self.streak += 1
        return self.streak >= (self._required_successes() if ok else self._fall)

    def switch(self, result: ProbeResult, wall: float) -> Verdict:
        """Make the verdict that of the result, since `wall` (Unix time, seconds), and return it."""
        self.verdict = Verdict(result.ok, wall, result.reason)
        self.up = result.ok
        self._proven = self._proven or result.ok
        self.streak = 0
        return self.verdict

    def reset_streak(self) -> None:
        """Start counting again from zero."""
        self.streak = 0

    def _required_successes(self) -> int:
        return 1 if self._initially_down and not self._proven else self._rise
