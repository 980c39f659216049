"""A timer of a process that may not have run when it was due.

A process that was stopped or starved then knows nothing of what happened meanwhile: that waits in its links,
files and connections, or in those of a process that was stopped with it. So it reads for as long as it
was late, up to `LONGEST` seconds, before anything is done because of the time.
"""

from collections.abc import Callable

__all__ = ["LATE", "LONGEST", "PunctualTimer"]

LATE = 0.1
"""Seconds that a timer may be late."""

LONGEST = 2.0
"""Seconds after which a process that was late has read what waited."""

_ROUNDING = 0.001  # seconds that a timer may expire too early


class PunctualTimer:
    """Calls `after` with the seconds until the earliest moment that was set; that has `expired` called then.

    Moments are in seconds on a clock that does not go back.
    """

    def __init__(self, after: Callable[[float], object]) -> None:
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
        late = delay > LATE and not self._reading
        self._due, self._reading = None, late
        if late:
            self.set(now + LATE + min(delay, LONGEST), now)
        return not late

    def waits(self, now: float) -> bool:
        """Tell whether nothing is to be done before it has expired, as it was due long ago."""
        return self._reading or (self._due is not None and now - self._due > LATE)
