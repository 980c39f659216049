"""Simulated time: a queue of calls, each at its moment, and a clock that jumps from one to the next.

Everything that happens in a simulation is a call in this queue. Calls of one moment run
in the order in which they were added, so that a seed decides everything.
"""

import heapq
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.process import Process

__all__ = ["EPOCH", "Call", "Simulation"]

EPOCH = 1_700_000_000.0  # Unix time, seconds, at which every simulation starts
START = 1000.0  # of the monotonic clock, so that nothing takes 0.0 for a time


class Call:
    """A call in the queue; `cancel` takes it out. It stands in for a timer handle of asyncio as well."""

    __slots__ = ("at", "function", "number")

    def __init__(self, at: float, number: int, function: Callable[[], object]) -> None:
        self.at = at
        self.number = number
        self.function: Callable[[], object] | None = function

    def __lt__(self, other: "Call") -> bool:
        return (self.at, self.number) < (other.at, other.number)

    def cancel(self) -> None:
        """Do not make the call."""
        self.function = None


class Simulation:
    """The queue, the clock, and the one source of chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = START
        # seconds that the time of day has been stepped, forwards or back
        self.wall_step = 0.0
        # the process whose code runs at the moment
        self.current: Process | None = None
        self._queue: list[Call] = []
        self._numbers = 0

    def after(self, seconds: float, function: Callable[[], object]) -> Call:
        """Have `function` called in so many seconds."""
        self._numbers += 1
        call = Call(self.now + max(0.0, seconds), self._numbers, function)
        heapq.heappush(self._queue, call)
        return call

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = self.now + seconds
        while self._queue and self._queue[0].at <= end:
            call = heapq.heappop(self._queue)
            if call.function is not None:
                self.now = max(self.now, call.at)
                call.function()
        self.now = end

    # The module `time`, as the code under test sees it.

    def monotonic(self) -> float:
        """Return the seconds of a clock that is never stepped."""
        return self.now

    def time(self) -> float:
        """Return Unix time, which may be stepped."""
        return EPOCH + self.now + self.wall_step
