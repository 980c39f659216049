"""Doubt of oneself: when most targets seem to fail at once, the fault may be our own.

Whoever cannot reach the network sees all targets fail. So before a target goes
down, the others are heard: if most of those that were probed since its first
failure fail as well, references have to say whether the fault is ours. They
are addresses that somebody has configured because they answer for as long as
the network does. If none of them answers, what is known stays in force, until
one does or most targets succeed again.

In the latter case the references are dead, or tell nothing of the way to the
targets, and are not believed until one of them answers.

What fails while it is known to be down tells nothing. Time is an argument, in
seconds on a clock that does not go back.
"""

from math import inf

__all__ = ["REFERENCE_INTERVAL", "Observation", "OutageDetector"]

REFERENCE_INTERVAL = 1.0
"""Seconds between two questions to the references."""

VALID = 1.0  # seconds for which an answer of a reference counts, for targets that failed before it
GRAINS = 10  # to the second: how exactly it is remembered when a target was probed

_NEVER = -1  # in grains


class Observation:
    """What is remembered of one target: what its last probe said."""

    __slots__ = ("cleared", "down", "failing_since", "grain", "ok")

    def __init__(self, *, down: bool) -> None:
        # whether the target is known to be down
        self.down = down
        # when it last told something, and what
        self.grain = _NEVER
        self.ok = False
        # when the failures began of which the last is not followed by a success; set by whoever counts them
        self.failing_since = 0.0
        # in which of the freezes it has succeeded, 0: in none
        self.cleared = 0


class OutageDetector:
    """Whether failures are believed to be the targets' own."""

    def __init__(self) -> None:
        # whether the fault is taken to be ours
        self.frozen = False
        # whether the references are any good
        self.believed = True
        # when that ended, and when a reference last answered
        self.thawed_at = -inf
        self._answered_at = -inf
        # how many told something at each time that is the last for some, failures and successes; the latest last
        self._told: dict[int, list[int]] = {}
        # how many are not known to be down
        self._hopeful = 0
        # the number of freezes; and in this one how many have succeeded since, and how many others are not known
        # to be down
        self._freezes = 0
        self._cleared = 0
        self._suspect = 0

    def admit(self, witness: Observation) -> None:
        """Take in a witness."""
        if not witness.down:
            self._hopeful += 1
            self._suspect += 1

    def dismiss(self, witness: Observation) -> None:
        """Keep nothing of a witness."""
        self._unsay(witness)
        if not witness.down:
            self._hopeful -= 1
        if self.frozen and witness.cleared == self._freezes:
            self._cleared -= 1
        elif not witness.down:
            self._suspect -= 1

    def heard(self, witness: Observation, ok: bool, now: float) -> None:
        """Take in how a probe ended; with a success the doubt may be over."""
        grain = int(now * GRAINS)
        if grain != witness.grain or ok != witness.ok:
            self._unsay(witness)
            if ok or not witness.down:
                self._say(witness, ok, grain)
        if self.frozen:
            self._reconsider(witness, ok, now)

    def turned(self, witness: Observation, *, down: bool) -> None:
        """Take note that the target has become known to be down, or not to be."""
        if down != witness.down:
            witness.down = down
            self._hopeful += -1 if down else 1
        if down:
            self._unsay(witness)

    def suspects(self, witness: Observation, now: float) -> bool:
        """Tell whether the references are to be asked before the target, which fails, goes down."""
        if not self.believed or (self._answered_at >= witness.failing_since and now - self._answered_at < VALID):
            return False
        failures, successes = 0, 0
        first = int(witness.failing_since * GRAINS)
        for grain in reversed(self._told):
            # what was told in the same grain may have been told before
            if grain <= first:
                break
            failures += self._told[grain][False]
            successes += self._told[grain][True]
        return max(failures, 1) > successes

    def freeze(self) -> None:
        """Take it that the fault is ours: the references that were asked do not answer."""
        self.frozen = True
        self._freezes += 1
        self._cleared, self._suspect = 0, self._hopeful

    def trust(self, now: float) -> None:
        """Take it that no fault is ours: a reference has answered."""
        self.believed = True
        self._answered_at = now
        if self.frozen:
            self._thaw(now)

    def _reconsider(self, witness: Observation, ok: bool, now: float) -> None:
        cleared = witness.cleared == self._freezes
        if ok != cleared:
            witness.cleared = self._freezes if ok else 0
            self._cleared += 1 if ok else -1
            if not witness.down:
                self._suspect += -1 if ok else 1
        if ok and self._cleared >= self._suspect:
            self.believed = False
            self._thaw(now)

    def _thaw(self, now: float) -> None:
        self.frozen = False
        self.thawed_at = now

    def _say(self, witness: Observation, ok: bool, grain: int) -> None:
        witness.grain, witness.ok = grain, ok
        told = self._told.get(grain)
        if told is None:
            told = self._told[grain] = [0, 0]
        told[ok] += 1

    def _unsay(self, witness: Observation) -> None:
        if witness.grain == _NEVER:
            return
        told = self._told[witness.grain]
        told[witness.ok] -= 1
        if not any(told):
            del self._told[witness.grain]
        witness.grain = _NEVER
