"""Periods of time, as lists of (begin, end) in order, and which of them explain what is seen later."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["ALWAYS", "Delays", "Ledger", "Period", "common", "inverted", "merged", "overlapping"]


class Period(NamedTuple):
    """From `begin` to `end`, in seconds of the monotonic clock."""

    begin: float
    end: float


ALWAYS = Period(float("-inf"), float("inf"))


def merged(periods: Iterable[Period]) -> list[Period]:
    """Return the union, in order and without overlaps."""
    found: list[Period] = []
    for period in sorted(periods):
        if found and period.begin <= found[-1].end:
            found[-1] = Period(found[-1].begin, max(found[-1].end, period.end))
        else:
            found.append(period)
    return found


def inverted(periods: Iterable[Period]) -> list[Period]:
    """Return what is in none of the periods."""
    found, since = [], ALWAYS.begin
    for period in merged(periods):
        if period.begin > since:
            found.append(Period(since, period.begin))
        since = period.end
    return [*found, Period(since, ALWAYS.end)] if since < ALWAYS.end else found


def common(one: Iterable[Period], two: Iterable[Period]) -> list[Period]:
    """Return what is in both."""
    return inverted([*inverted(one), *inverted(two)])


def overlapping(periods: Iterable[Period], begin: float, end: float) -> bool:
    """Tell whether a period has a part between two times."""
    return any(period.begin <= end and begin <= period.end for period in periods)


class Delays:
    """When faults may have delayed the node. What was settled at the `cuts` is not delayed beyond them."""

    def __init__(self, periods: Iterable[Period], cuts: Sequence[float] = ()) -> None:
        self._periods = merged(periods)
        self._cuts = cuts

    def throughout(self, begin: float, end: float) -> bool:
        """Tell whether something that was due at `begin` may have been delayed until `end`."""
        covered = any(period.begin <= begin and end <= period.end for period in self._periods)
        return covered and not any(begin < cut < end for cut in self._cuts)

    def within(self, begin: float, end: float) -> bool:
        """Tell whether there was a delay between two times."""
        return overlapping(self._periods, begin, end)

    def until(self, time: float) -> float:
        """Return until when something that is due at a time may be delayed, at most to the next cut."""
        end = max((period.end for period in self._periods if period.begin <= time <= period.end), default=time)
        return min([end, *(cut for cut in self._cuts if cut > time)])

    def __iter__(self) -> Iterator[Period]:
        return iter(self._periods)


class Ledger:
    """The periods that explain events of one kind, such as the loss of weight by being unwanted or failing.

    A period explains what is seen within it, or within `slack` seconds after it,
    or as much later as the node was delayed. When it has explained an event which was
    then undone after the end of the period, it explains no more.
    """

    def __init__(self, periods: Iterable[Period], slack: float, delays: Delays) -> None:
        self._periods = sorted(periods)
        self._slack = slack
        self._delays = delays
        self._used: set[Period] = set()
        self._over: set[Period] = set()

    def explain(self, begin: float, end: float) -> bool:
        """Tell whether an event between two times, later than all before, is explained."""
        for period in reversed(self._periods):
            if period.begin <= end and period not in self._over and self._lasts(period, begin):
                self._used.add(period)
                return True
        return False

    def undone(self, begin: float) -> None:
        """Note that the last event was undone, after `begin`."""
        self._over |= {period for period in self._used if period.end < begin}

    def _lasts(self, period: Period, until: float) -> bool:
        return until <= period.end + self._slack or self._delays.throughout(period.end + self._slack, until)
