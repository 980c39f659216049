"""When to judge again what may be removed, though nothing else has happened.

A process that did not run when that was due, as it was stopped or starved, knows nothing of what
was restored meanwhile: that waits in its links, or in those of a config process that was stopped with it.
So it reads for as long as it was late, up to `LONGEST` seconds, before anything is removed.
"""

from collections.abc import Callable

from clusterf.director.removal_hold import CALM, LONGEST

__all__ = ["ReleaseTimer"]

_ROUNDING = 0.001  # seconds that a timer may expire too early


class ReleaseTimer:
    """Calls `after` with the seconds until the earliest moment that was set; that has `expired` called then.

    Moments are in seconds on a clock that does not go back.
    """

    def __init__(self, after: Callable[[float], None]) -> None:
        self._after = after
        self._due: float | None = None
        # whether what came while this process did not run is being read
        self._reading = False

    def set(self, moment: float, now: float) -> None:
        """Have it expire at `moment`, unless it does before."""
        if self._due is None or moment < self._due:
            self._due = moment
            self._after(max(moment - now, 0.0))

    def expired(self, now: float) -> bool:
        """Return whether the time has come; False if that is noticed so late that it is to be set again, and is."""
        if self._due is None or now < self._due - _ROUNDING:
            return False  # set before, to a later moment
        delay = now - self._due
        late = delay > CALM and not self._reading
        self._due, self._reading = None, late
        if late:
            self.set(now + CALM + min(delay, LONGEST), now)
        return not late

    def waits(self, now: float) -> bool:
        """Tell whether nothing is to be removed before it has expired, as it was due long ago."""
        return self._reading or self._is_late(now)

    def _is_late(self, now: float) -> bool:
        return self._due is not None and now - self._due > CALM
