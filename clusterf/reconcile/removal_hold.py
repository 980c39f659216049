"""A wiped configuration must not wipe the table: removals of most virtual servers at once are held.

An empty restore of etcd, a deleted prefix or an empty tree looks like a wish to
remove everything. So when more than half of at least ten virtual servers are
to go in one step, they stay for a while, loudly, and go when that wish still
stands, or at once when it is confirmed. Time is an argument, in seconds on any
clock that does not go back.
"""

from enum import Enum, auto

__all__ = ["Decision", "RemovalHold"]

ENOUGH = 10  # virtual servers in force, below which nothing is held
CALM = 0.1  # seconds without news after which a step is taken as told in full
LONGEST = 2.0  # seconds after which it is, too, if there is always news


class Decision(Enum):
    """Whether virtual servers may be removed now."""

    ALLOWED = auto()
    WAIT = auto()
    HELD = auto()


class RemovalHold:
    """Decides when virtual servers may go. `hold` in seconds; 0 lets them go at once."""

    def __init__(self, hold: float) -> None:
        self._hold = hold
        # when the configuration last changed, and when the change began that has not come to rest since
        self._news: float | None = None
        self._first_news = 0.0
        self._confirmed = False
        # until when the present step is held
        self.held_until: float | None = None

    def news(self, now: float) -> None:
        """Take it that the configuration has changed, and may be about to change more."""
        if self._news is None or now - self._news >= CALM:
            self._first_news = now
        self._news = now

    def confirm(self) -> None:
        """Let what is held go."""
        self._confirmed = self.held_until is not None

    def judge(self, now: float, in_force: int, leaving: int) -> Decision:
        """Tell whether `leaving` of `in_force` virtual servers may go.

        WAIT: ask again in `CALM` seconds. HELD: at `held_until`.
        """
        if not self._hold or not leaving:
            self.held_until = None
            return Decision.ALLOWED
        if in_force < ENOUGH or 2 * leaving <= in_force:
            # a step may come in parts: what looks small may be the beginning of a great one
            self.held_until = None
            return Decision.WAIT if self._coming(now) else Decision.ALLOWED
        if self.held_until is None:
            self.held_until = now + self._hold
        if not self._confirmed and now < self.held_until:
            return Decision.HELD
        self.held_until, self._confirmed = None, False
        return Decision.ALLOWED

    def _coming(self, now: float) -> bool:
        return self._news is not None and now - self._news < CALM and now - self._first_news < LONGEST
