"""When to probe: each item on a grid of its interval, and all together at a limited pace.

Each item has a grid of its own, with cells as long as its interval. The grid
starts at a random time, so that the probes of many items are spread evenly. An
item is due once in each cell, at a random offset within the jitter: on average,
exactly one interval from one probe to the next, however long the probes take.
Cells that pass while a probe is under way are skipped. An item leaves its grid
while it is probed at its fast interval.

Starts are paced, at twice the rate of all intervals together, so neither a
pause of the process nor thousands of new items cause a burst. Items that are
due start first. New items get the rest of the pace, at least half of it on
average, so all of them have their first probe within about one interval.

Time is an argument, in seconds on a monotonic clock; changes of the time of day
have no effect.
"""

from collections import OrderedDict
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import floor
from typing import Generic, TypeVar

from clusterf.lib.jitter import share

__all__ = ["Schedule", "Slot"]

T = TypeVar("T")

HEADROOM = 2.0  # the pace of starts, as a multiple of the average rate
MIN_PACE = 100.0  # starts a second that are always allowed: they are cheap
BURST = 20  # starts that are allowed at once,
CATCH_UP = 0.05  # or those of so many seconds, if they are more: a busy process calls `take` no more often
MIN_INTERVAL = 0.001  # seconds


class Slot(Generic[T]):
    """An item's slot in a schedule. `interval` and `fast_interval` are in seconds, `jitter` is a share of the interval.

    Intervals are raised to `MIN_INTERVAL`, and the fast one is limited to the other.
    """

    __slots__ = (
        *("anchor", "cell", "fast", "fast_interval", "interval", "item", "jitter"),
        *("number", "started", "under_way", "waiting"),
    )

    def __init__(self, item: T, interval: float, fast_interval: float, jitter: float) -> None:
        self.item = item
        self.interval = max(interval, MIN_INTERVAL)
        self.fast_interval = min(max(fast_interval, MIN_INTERVAL), self.interval)
        self.jitter = jitter
        # whether the last probe was followed by the fast interval
        self.fast = False
        # when the grid starts, and the last cell in which the item was due
        self.anchor = 0.0
        self.cell = -1
        # orders slots that are due at the same time
        self.number = 0
        # whether it waits for its next probe, or its probe is under way; neither: it was removed
        self.waiting = False
        self.under_way = False
        # when its last probe started
        self.started = 0.0

    @property
    def rate(self) -> float:
        """Probes a second at the present interval."""
        return 1.0 / (self.fast_interval if self.fast else self.interval)


class Schedule(Generic[T]):
    """Which of the items are to be probed next, and when. `chance` returns a random number in [0, 1)."""

    def __init__(self, chance: Callable[[], float] = share) -> None:
        self._chance = chance
        # seconds by which the last probe that had a due time started behind it
        self.lag = 0.0
        # the slots that have not been probed yet; and a heap of the others that wait, by due time
        self._new: OrderedDict[Slot[T], None] = OrderedDict()
        self._heap: list[tuple[float, int, Slot[T]]] = []
        # how many slots in the heap were removed
        self._gone = 0
        # how many slots there are, and how many were ever added
        self._size = 0
        self._numbers = 0
        # probes a second of all slots
        self._rate = 0.0
        # when the next probe would start at the pace, without bursts
        self._next = 0.0

    def __len__(self) -> int:
        """Return the number of items."""
        return self._size

    def add(self, slot: Slot[T], now: float) -> None:
        """Add a slot, which has not been added before; it is due as soon as the pace allows."""
        self._numbers += 1
        slot.number = self._numbers
        slot.anchor = now + self._chance() * slot.interval
        slot.waiting = True
        self._new[slot] = None
        self._size += 1
        self._rate += slot.rate

    def remove(self, slot: Slot[T]) -> None:
        """Remove a slot, also while its probe is under way; nothing happens if it is not in the schedule."""
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
        """Return the time at which items are due next; None: not before another call changes that."""
        while self._heap and not self._heap[0][2].waiting:
            heappop(self._heap)
            self._gone -= 1
        if not self._new and not self._heap:
            return None
        _, ahead = self._pace()
        allowed = self._next - ahead
        return allowed if self._new else max(allowed, self._heap[0][0])

    def finished(self, slot: Slot[T], now: float, *, fast: bool, rest: float = 0.0) -> None:
        """End the probe of a slot, and schedule the next, at the earliest in `rest` seconds.

        `fast`: at the fast interval.
        """
        if fast != slot.fast:
            self._rate -= slot.rate
            slot.fast = fast
            self._rate += slot.rate
        slot.under_way, slot.waiting = False, True
        due = max(slot.started + slot.fast_interval, now) if fast else self._next_cell(slot, now)
        heappush(self._heap, (max(due, now + rest), slot.number, slot))

    def _pop(self, now: float) -> Slot[T] | None:
        """Remove and return the slot that is to start next, if any."""
        while self._heap and self._heap[0][0] <= now:
            due, _, slot = heappop(self._heap)
            if slot.waiting:
                self.lag = now - due
                return slot
            self._gone -= 1
        return self._new.popitem(last=False)[0] if self._new else None

    def _pace(self) -> tuple[float, float]:
        """Return the seconds from one start to the next, and the seconds that starts may be ahead of that."""
        gap = 1.0 / max(MIN_PACE, HEADROOM * self._rate)
        return gap, max(CATCH_UP, (BURST - 1) * gap)

    def _next_cell(self, slot: Slot[T], now: float) -> float:
        """Move the slot to the next cell of its grid that is not past, and return when it is due there."""
        offset = self._chance() * slot.jitter
        slot.cell += 1
        due = slot.anchor + (slot.cell + offset) * slot.interval
        if due < now:
            slot.cell = floor((now - slot.anchor) / slot.interval) + 1
            due = slot.anchor + (slot.cell + offset) * slot.interval
        return due
