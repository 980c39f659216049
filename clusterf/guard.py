"""A wiped configuration must not wipe the table: removals of most virtual servers at once are held.

An empty restore of etcd, a deleted prefix or an empty tree looks like a wish to
remove everything. So when more than half of at least ten virtual servers are
to go in one step, they stay for a while, loudly, and go when that wish still
stands, or at once when it is confirmed. Time is an argument, in seconds on any
clock that does not go back.
"""

from enum import Enum, auto

__all__ = ["RemovalGuard", "Verdict"]

ENOUGH = 10  # virtual servers in force, below which nothing is held
CALM = 0.1  # seconds without news after which a step is taken as told in full


class Verdict(Enum):
    """Whether virtual servers may be removed now."""

    ALLOWED = auto()
    WAIT = auto()
    HELD = auto()


class RemovalGuard:
    """Decides when virtual servers may go. `hold` in seconds; 0 lets them go at once."""

    def __init__(self, hold: float) -> None:
        self._hold = hold
        self._calm_at = 0.0
        self._confirmed = False
        # until when the present step is held
        self.held_until: float | None = None

    def news(self, now: float) -> None:
        """Take it that the configuration has changed, and may be about to change more."""
        self._calm_at = now + CALM

    def confirm(self) -> None:
        """Let what is held go."""
        self._confirmed = True

    def judge(self, now: float, in_force: int, leaving: int) -> Verdict:
        """Tell whether `leaving` of `in_force` virtual servers may go.

        WAIT: ask again within `CALM` seconds. HELD: at `held_until`.
        """
        if not self._hold or in_force < ENOUGH or 2 * leaving <= in_force:
            self._release()
            # a step may come in parts: what looks small may be the beginning of a great one
            return Verdict.WAIT if self._hold and leaving and now < self._calm_at else Verdict.ALLOWED
        if self.held_until is None:
            self.held_until = now + self._hold
        if self._confirmed or now >= self.held_until:
            return Verdict.ALLOWED
        return Verdict.HELD

    def settled(self) -> None:
        """Take it that what was allowed has been done."""
        self._release()

    def _release(self) -> None:
        self.held_until = None
        self._confirmed = False
