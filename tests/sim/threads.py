"""Threads and queues of the code under test, as fibers of the present process."""

import heapq
from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import Any, Self

from tests.sim import fibers
from tests.sim.process import present

__all__ = ["Condition", "PriorityQueue", "SimpleQueue", "Thread"]

FOREVER = 1e9  # seconds


class Thread:
    """`threading.Thread`, as far as it is used."""

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...] = (), **_: object) -> None:
        self._process = present()
        self._fiber = self._process.fiber(lambda: target(*args))

    def start(self) -> None:
        """Have it run at the end of this moment."""
        self._process.later(0.0, self._fiber.start)

    def join(self, timeout: float = FOREVER) -> None:
        """Wait for its end, or outside of fibers have it do what it can at once."""
        if not fibers.is_one():
            self._fiber.wake()
            return
        end = self._process.simulation.now + timeout
        while not self._fiber.ended and self._process.simulation.now < end:
            fibers.sleep(0.01)

    def is_alive(self) -> bool:
        """Tell whether it has not ended."""
        return not self._fiber.ended


class Condition:
    """`threading.Condition` for fibers, of which only one runs at a time anyway."""

    def __init__(self) -> None:
        self._waiting: list[fibers.Fiber] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_for(self, predicate: Callable[[], object], timeout: float = FOREVER) -> object:
        """Sleep until the predicate is true, for `timeout` seconds at most."""
        fiber, process = fibers.present(), present()
        end = process.simulation.now + timeout
        while not (result := predicate()) and process.simulation.now < end:
            self._waiting.append(fiber)
            fiber.sleep(end - process.simulation.now)
            if fiber in self._waiting:
                self._waiting.remove(fiber)
        return result

    def notify(self) -> None:
        """Wake who waits."""
        for fiber in self._waiting:
            fiber.wake_soon()


class SimpleQueue:
    """`queue.SimpleQueue` for fibers: whoever takes is a fiber, whoever puts is any code of the process."""

    def __init__(self) -> None:
        self._items: Any = deque()
        self._waiting: deque[fibers.Fiber] = deque()

    def empty(self) -> bool:
        """Tell whether nothing is in it."""
        return not self._items

    def put(self, item: Any) -> None:
        """Put something in, and wake who waits for it."""
        self._add(item)
        if self._waiting:
            self._waiting.popleft().wake_soon()

    def get(self, timeout: float | None = None) -> Any:
        """Take the next thing out; raise Empty if there is none for so many seconds."""
        if not self._items:
            fiber, process = fibers.present(), present()
            end = process.simulation.now + (FOREVER if timeout is None else timeout)
            while not self._items:
                left = end - process.simulation.now
                if left <= 0:
                    raise Empty
                self._waiting.append(fiber)
                fiber.sleep(left)
                if fiber in self._waiting:
                    self._waiting.remove(fiber)
        return self._take()

    def _add(self, item: Any) -> None:
        self._items.append(item)

    def _take(self) -> Any:
        return self._items.popleft()


class PriorityQueue(SimpleQueue):
    """`queue.PriorityQueue` for fibers."""

    def __init__(self) -> None:
        super().__init__()
        self._items = []

    def _add(self, item: Any) -> None:
        heapq.heappush(self._items, item)

    def _take(self) -> Any:
        return heapq.heappop(self._items)
