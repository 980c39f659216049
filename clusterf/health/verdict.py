"""Health policy: what a row of probes says about a target.

Pure: time is an argument, and nothing here does I/O.
"""

from typing import NamedTuple

import msgspec

from clusterf.config.model import HealthCheck

__all__ = ["ProbeResult", "RiseFall", "StoredVerdict", "Verdict"]


class ProbeResult(NamedTuple):
    """How one probe ended. `duration` is in seconds; `reason` is why it failed, in words, empty if it did not.

    `local`: it could not be made, for a fault of this machine (no descriptors
    left, no such source address), so that it says nothing about the target.
    """

    ok: bool
    reason: str
    duration: float
    local: bool = False


class Verdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the probes of a target have shown: it is up, or down and why.

    `since` is the Unix time in seconds of the change to it.
    """

    up: bool
    since: float
    reason: str = ""


class StoredVerdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What outlives a process: the verdict, and whether the target has ever been up (`proven`)."""

    verdict: Verdict
    proven: bool


class RiseFall:
    """The verdict on one target, and the outcomes in a row that speak against it.

    Without a verdict one success makes the target up, and `fall` failures in a
    row make it down. One that is up goes down after `fall` failures in a row,
    and one that is down comes up after `rise` successes; but the first success
    is enough for one that has never been up, if its check takes new targets
    for down. A row is broken by the opposite, and begins anew with a `memory`.
    """

    __slots__ = ("_fall", "_presumed_down", "_proven", "_rise", "count", "up", "verdict")

    def __init__(self, check: HealthCheck, memory: StoredVerdict | None = None) -> None:
        self._rise, self._fall = check.rise, check.fall
        self._presumed_down = check.initial == "down"
        self._proven = memory is not None and (memory.proven or memory.verdict.up)
        self.verdict = memory.verdict if memory else None
        # what the verdict says, None while there is none
        self.up = self.verdict.up if self.verdict else None
        # how many outcomes in a row speak for another verdict; while there are some, probes follow faster
        self.count = 0

    @property
    def memory(self) -> StoredVerdict | None:
        """What to keep across restarts; None while there is no verdict."""
        return StoredVerdict(self.verdict, self._proven) if self.verdict else None

    def heard(self, ok: bool) -> bool:
        """Count an outcome; return whether it is time to `turn` the verdict to it."""
        if ok == self.up:
            self.count = 0
            return False
        if ok and self.up is None:
            self.count = 1
            return True
        self.count += 1
        return self.count >= (self._successes() if ok else self._fall)

    def turn(self, outcome: ProbeResult, wall: float) -> Verdict:
        """Make the verdict what the outcome says, since `wall` (Unix seconds), and return it."""
        self.verdict = Verdict(outcome.ok, wall, outcome.reason)
        self.up = outcome.ok
        self._proven = self._proven or outcome.ok
        self.count = 0
        return self.verdict

    def forget_count(self) -> None:
        """Begin to count anew."""
        self.count = 0

    def _successes(self) -> int:
        """Return how many bring it up from down."""
        return 1 if self._presumed_down and not self._proven else self._rise
