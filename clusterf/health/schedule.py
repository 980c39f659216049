"""When to probe what: places on a grid of time, and a pace at which probes may start.

Each item has a grid of its own, as wide as its interval, which begins at
random, so that the probes of many are spread evenly. It is due once in each
place of the grid, as far behind its beginning as chance and the jitter say: so
it is on average exactly one interval from a probe to the next, however long
they take. What falls due while a probe is under way is skipped. An item that is
probed fast, as a count runs, leaves its grid meanwhile.

Starts are paced, at twice the rate that all intervals together ask for: so
neither a pause of the process nor thousands of new items make a burst. What is
due goes first. New items have the rest of the pace, at least half of it on
average, and so are probed for the first time as soon as it allows: all of them
within about one interval.

Time is an argument, in seconds on a clock that does not go back: changes of
the time of day are nothing to it.
"""

from collections import OrderedDict
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import floor
from typing import Generic, TypeVar

from clusterf.lib.jitter import share

__all__ = ["Schedule", "Slot"]

T = TypeVar("T")

HEADROOM = 2.0  # how much faster starts may follow each other than they do on average
SLOWEST = 100.0  # starts a second that are always allowed: they cost next to nothing
BURST = 20  # starts that may come at once,
PATIENCE = 0.05  # or those of so many seconds, as a busy process does not ask more often
SHORTEST = 0.001  # seconds; an interval is no shorter than that


class Slot(Generic[T]):
    """One stay of an item in a schedule. `interval` and `fast_interval` in seconds, `jitter` a share of the interval.

    No interval is shorter than `SHORTEST`, and the fast one is no longer than the other.
    """

    __slots__ = (
        *("anchor", "fast", "fast_interval", "interval", "item", "jitter"),
        *("number", "place", "started", "under_way", "waiting"),
    )

    def __init__(self, item: T, interval: float, fast_interval: float, jitter: float) -> None:
        self.item = item
        self.interval = max(interval, SHORTEST)
        self.fast_interval = min(max(fast_interval, SHORTEST), self.interval)
        self.jitter = jitter
        # whether the last probe was followed by the fast interval
        self.fast = False
        # when the grid begins, and its last place that was used
        self.anchor = 0.0
        self.place = -1
        # tells slots apart that are due at the same time
        self.number = 0
        # whether it is among those that are to be started, or has been
        self.waiting = False
        self.under_way = False
        # when its last probe was started
        self.started = 0.0

    @property
    def rate(self) -> float:
        """How many probes a second it asks for at present."""
        return 1.0 / (self.fast_interval if self.fast else self.interval)


class Schedule(Generic[T]):
    """Which of the items are to be probed next, and when. `chance` returns any number from 0 to less than 1."""

    def __init__(self, chance: Callable[[], float] = share) -> None:
        self._chance = chance
        # seconds that the latest probe which had a time was started behind it
        self.lag = 0.0
        # those that have not been probed yet; and a heap of the others that wait, by when they are due
        self._new: OrderedDict[Slot[T], None] = OrderedDict()
        self._heap: list[tuple[float, int, Slot[T]]] = []
        # how many in the heap have been removed
        self._gone = 0
        # how many slots there are, and how many there ever were
        self._size = 0
        self._numbers = 0
        # probes a second that all of them ask for
        self._rate = 0.0
        # when the next probe would be started if all kept to the pace and there were no bursts
        self._next = 0.0

    def __len__(self) -> int:
        """Tell how many items there are."""
        return self._size

    def add(self, slot: Slot[T], now: float) -> None:
        """Take in a slot, for the first and only time; it is to be probed as soon as the pace allows."""
        self._numbers += 1
        slot.number = self._numbers
        slot.anchor = now + self._chance() * slot.interval
        slot.waiting = True
        self._new[slot] = None
        self._size += 1
        self._rate += slot.rate

    def remove(self, slot: Slot[T]) -> None:
        """Keep nothing of a slot, whether it is under way or not; nothing happens if it is not there."""
        if not slot.waiting and not slot.under_way:
            return
        if slot.waiting and slot in self._new:
            del self._new[slot]
        elif slot.waiting:
            self._gone += 1
        slot.waiting = slot.under_way = False
        self._size -= 1
        self._rate = self._rate - slot.rate if self._size else 0.0
        if 2 * self._gone > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].waiting]
            heapify(self._heap)
            self._gone = 0

    def take(self, now: float) -> list[T]:
        """Return the items whose probes are to be started now; each is under way until it is `finished`."""
        gap, ahead = self._pace()
        taken: list[T] = []
        while self._next - ahead <= now:
            slot = self._pop(now)
            if slot is None:
                break
            slot.waiting, slot.under_way, slot.started = False, True, now
            taken.append(slot.item)
            self._next = max(self._next, now) + gap
        return taken

    def wake_at(self) -> float | None:
        """Return when there will be something to take; None: not before something else happens."""
        while self._heap and not self._heap[0][2].waiting:
            heappop(self._heap)
            self._gone -= 1
        if not self._new and not self._heap:
            return None
        _, ahead = self._pace()
        allowed = self._next - ahead
        return allowed if self._new else max(allowed, self._heap[0][0])

    def finished(self, slot: Slot[T], now: float, *, fast: bool) -> None:
        """Let a slot that is under way wait for its next turn, with `fast` for the fast interval."""
        if fast != slot.fast:
            self._rate -= slot.rate
            slot.fast = fast
            self._rate += slot.rate
        slot.under_way, slot.waiting = False, True
        due = max(slot.started + slot.fast_interval, now) if fast else self._next_place(slot, now)
        heappush(self._heap, (due, slot.number, slot))

    def _pop(self, now: float) -> Slot[T] | None:
        """Take out the slot whose turn it is, if there is one."""
        while self._heap and self._heap[0][0] <= now:
            due, _, slot = heappop(self._heap)
            if slot.waiting:
                self.lag = now - due
                return slot
            self._gone -= 1
        return self._new.popitem(last=False)[0] if self._new else None

    def _pace(self) -> tuple[float, float]:
        """Return the seconds from one start to the next, and how far starts may be ahead of that."""
        gap = 1.0 / max(SLOWEST, HEADROOM * self._rate)
        return gap, max(PATIENCE, (BURST - 1) * gap)

    def _next_place(self, slot: Slot[T], now: float) -> float:
        """Go on to the next place on the slot's grid that is not past, and return when the slot is due there."""
        within = self._chance() * slot.jitter
        slot.place += 1
        due = slot.anchor + (slot.place + within) * slot.interval
        if due < now:
            slot.place = floor((now - slot.anchor) / slot.interval) + 1
            due = slot.anchor + (slot.place + within) * slot.interval
        return due
