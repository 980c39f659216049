"""A wiped configuration must not wipe the table: removals of most virtual servers at once are held.

An empty restore of etcd, a deleted prefix or an empty tree looks like a request to
remove everything. So when more than half of at least ten virtual servers are
to be removed at once, they stay for a while, which is logged, and are removed if they
are still not desired then, or at once when the operator confirms it. Virtual servers
restored within the hold are never removed. Time is an argument, in seconds on any
clock that does not go back.
"""

import logging
from enum import Enum, auto

__all__ = ["CALM", "ENOUGH", "LONGEST", "Decision", "RemovalHold"]

log = logging.getLogger(__name__)

ENOUGH = 10
"""Virtual servers in force below which nothing is held."""

CALM = 0.1
"""Seconds without a change of the configuration after which it is taken as complete."""

LONGEST = 2.0
"""Seconds after which it is taken as complete although it goes on changing."""


class Decision(Enum):
    """Whether virtual servers may be removed now."""

    ALLOWED = auto()
    WAIT = auto()
    HELD = auto()


class RemovalHold:
    """Decides when virtual servers may be removed, and logs when a hold begins and ends.

    `hold` is in seconds; 0: at once.
    """

    def __init__(self, hold: float) -> None:
        self._hold = hold
        # when the configuration changed last, and when the changes began that have not come to rest since
        self._changed: float | None = None
        self._first_changed = 0.0
        self._confirmed = False
        # until when the present removals are held
        self._until: float | None = None

    def changed(self, now: float) -> None:
        """Note that the configuration has changed, and may be about to change more."""
        if self._changed is None or now - self._changed >= CALM:
            self._first_changed = now
        self._changed = now

    def confirm(self) -> None:
        """Allow the removals that are held; those to come are not."""
        self._confirmed = self._until is not None

    def remaining(self, now: float) -> float:
        """Return for how many seconds the present removals are still held."""
        return 0.0 if self._until is None else self._until - now

    def judge(self, now: float, in_force: int, leaving: int) -> Decision:
        """Tell whether `leaving` of `in_force` virtual servers may be removed.

        WAIT: judge again in `CALM` seconds. HELD: in `remaining` seconds.
        """
        if not self._hold or not leaving:
            self._end()
            return Decision.ALLOWED
        if in_force < ENOUGH or 2 * leaving <= in_force:
            self._end()
            # a change may arrive in parts: a few removals may be the beginning of many
            return Decision.WAIT if self._is_changing(now) else Decision.ALLOWED
        if self._until is None:
            self._begin(now, in_force, leaving)
        elif self._confirmed or self.remaining(now) <= 0:
            self._end()
            return Decision.ALLOWED
        return Decision.HELD

    def _is_changing(self, now: float) -> bool:
        return self._changed is not None and now - self._changed < CALM and now - self._first_changed < LONGEST

    def _begin(self, now: float, in_force: int, leaving: int) -> None:
        self._until = now + self._hold
        log.error(
            "ipvs: %d of %d virtual servers would be removed at once: held for %.0f seconds, "
            "or until clusterf config confirm",
            *(leaving, in_force, self._hold),
        )

    def _end(self) -> None:
        if self._until is not None:
            log.warning("ipvs: the removal of virtual servers is no longer held")
        self._until, self._confirmed = None, False
