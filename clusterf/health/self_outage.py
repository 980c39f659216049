"""Detecting an outage of this node's own network, in which every target seems to fail.

Before a target goes down, the other targets are compared: if most of those that
were probed since its first failure fail as well, the references are probed.
References are addresses that the operator has configured because they respond
for as long as this node's network works. If none responds, the verdicts are
frozen until one does, or until most targets pass again.

In the latter case the references are dead, or not on the way to the targets:
they are not trusted until one of them responds.

Failures of targets that are known to be down say nothing, and are not counted.
Time is an argument, in seconds on a monotonic clock.
"""

from math import inf

__all__ = ["REFERENCE_INTERVAL", "Observation", "OutageDetector"]

REFERENCE_INTERVAL = 1.0
"""Seconds from one probe of the references to the next."""

RESPONSE_VALID = 1.0  # seconds for which a reference's response clears targets that had failed before it
BUCKETS_PER_SECOND = 10  # resolution of the times at which targets were last probed

_NO_BUCKET = -1


class Observation:
    """The last result of one target, as far as it is evidence for or against an outage of this node."""

    __slots__ = ("bucket", "down", "failing_since", "ok", "recovered_in")

    def __init__(self, *, down: bool) -> None:
        # whether the target's verdict is down
        self.down = down
        # the time and the result of the last probe that counts
        self.bucket = _NO_BUCKET
        self.ok = False
        # the time of the first failure of the current streak; set by the owner
        self.failing_since = 0.0
        # the number of the freeze in which its last probe passed, 0: none
        self.recovered_in = 0


class OutageDetector:
    """Decides whether failures are the targets' own, or an outage of this node that freezes the verdicts."""

    def __init__(self) -> None:
        # whether a local outage is assumed
        self.frozen = False
        # whether the references can tell: false after most targets have passed while none of them responded
        self.references_trusted = True
        # when the last freeze ended, and when a reference last responded
        self.thawed_at = -inf
        self._responded_at = -inf
        # how many observations are in each bucket: [failures, successes]; the latest bucket last
        self._buckets: dict[int, list[int]] = {}
        # how many targets have no verdict of down
        self._not_down = 0
        # the number of the last freeze; how many targets have recovered in it, and how many of the others
        # have no verdict of down
        self._freeze_number = 0
        self._recovered = 0
        self._unrecovered = 0

    def add(self, observation: Observation) -> None:
        """Add the observation of a new target."""
        if not observation.down:
            self._not_down += 1
            self._unrecovered += 1

    def remove(self, observation: Observation) -> None:
        """Remove the observation of a target that is no longer probed."""
        self._uncount(observation)
        if not observation.down:
            self._not_down -= 1
        if self.frozen and observation.recovered_in == self._freeze_number:
            self._recovered -= 1
        elif not observation.down:
            self._unrecovered -= 1

    def observe(self, observation: Observation, ok: bool, now: float) -> None:
        """Record a result of the target; a success may end the freeze."""
        bucket = int(now * BUCKETS_PER_SECOND)
        if bucket != observation.bucket or ok != observation.ok:
            self._uncount(observation)
            if ok or not observation.down:
                self._count(observation, ok, bucket)
        if self.frozen:
            self._update_freeze(observation, ok, now)

    def switched(self, observation: Observation, *, down: bool) -> None:
        """Record that the target's verdict has become down, or up."""
        if down != observation.down:
            observation.down = down
            self._not_down += -1 if down else 1
        if down:
            self._uncount(observation)

    def suspects_outage(self, observation: Observation, now: float) -> bool:
        """Tell whether the references are to be probed before the failing target goes down."""
        cleared = self._responded_at >= observation.failing_since and now - self._responded_at < RESPONSE_VALID
        if cleared or not self.references_trusted:
            return False
        failures, successes = 0, 0
        first = int(observation.failing_since * BUCKETS_PER_SECOND)
        for bucket in reversed(self._buckets):
            # results in the bucket of the first failure may be older than that failure
            if bucket <= first:
                break
            failures += self._buckets[bucket][False]
            successes += self._buckets[bucket][True]
        return max(failures, 1) > successes

    def freeze(self) -> None:
        """Assume a local outage: no reference has responded."""
        self.frozen = True
        self._freeze_number += 1
        self._recovered, self._unrecovered = 0, self._not_down

    def reference_responded(self, now: float) -> None:
        """Rule out a local outage, and end a freeze: a reference has responded."""
        self.references_trusted = True
        self._responded_at = now
        if self.frozen:
            self._thaw(now)

    def _update_freeze(self, observation: Observation, ok: bool, now: float) -> None:
        recovered = observation.recovered_in == self._freeze_number
        if ok != recovered:
            observation.recovered_in = self._freeze_number if ok else 0
            self._recovered += 1 if ok else -1
            if not observation.down:
                self._unrecovered += -1 if ok else 1
        if ok and self._recovered >= self._unrecovered:
            self.references_trusted = False
            self._thaw(now)

    def _thaw(self, now: float) -> None:
        self.frozen = False
        self.thawed_at = now

    def _count(self, observation: Observation, ok: bool, bucket: int) -> None:
        observation.bucket, observation.ok = bucket, ok
        counts = self._buckets.get(bucket)
        if counts is None:
            counts = self._buckets[bucket] = [0, 0]
        counts[ok] += 1

    def _uncount(self, observation: Observation) -> None:
        if observation.bucket == _NO_BUCKET:
            return
        counts = self._buckets[observation.bucket]
        counts[observation.ok] -= 1
        if not any(counts):
            del self._buckets[observation.bucket]
        observation.bucket = _NO_BUCKET
