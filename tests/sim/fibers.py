"""Threads of the code under test, of which one runs at a time, and only while the simulator waits for it.

Code that blocks (a follower of etcd that waits for events) runs unchanged: where it
would block, it hands control back to the simulator, which resumes it at the simulated
moment. The order of everything is thus the simulator's.
"""

import _thread
import threading
from collections.abc import Callable

__all__ = ["Event", "Fiber", "Killed", "sleep"]


class Killed(BaseException):
    """The process of this fiber is gone."""


_here = threading.local()


class Fiber:
    """A thread that runs `target` in turn with the simulator. `later(seconds, call)` queues a call of its process."""

    def __init__(self, target: Callable[[], object], later: Callable[[float, Callable[[], object]], object]) -> None:
        self._target = target
        self._later = later
        self._go, self._back = _thread.allocate_lock(), _thread.allocate_lock()
        self._go.acquire()
        self._back.acquire()
        self._started = False
        self._killed = False
        # counts the times that it has slept: a wake-up is for one of them
        self._sleeps = 0
        self.ended = False
        self.error: BaseException | None = None

    def start(self) -> None:
        """Run until the fiber sleeps or ends; called by the simulator."""
        self._started = True
        threading.Thread(target=self._main, daemon=True).start()
        self._turn(first=True)

    def wake(self) -> None:
        """Resume it now if it sleeps; called by the simulator."""
        if not self.ended and self._started:
            self._turn()

    def kill(self) -> None:
        """End it where it is."""
        self._killed = True
        self.wake()

    def sleep(self, seconds: float) -> None:
        """Let the simulator go on for so many seconds, or until `wake`; called in the fiber."""
        self._sleeps += 1
        number = self._sleeps
        self._later(seconds, lambda: self._wake_from(number))
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Killed

    def _wake_from(self, number: int) -> None:
        if number == self._sleeps:
            self.wake()

    def _turn(self, *, first: bool = False) -> None:
        if not first:
            self._go.release()
        self._back.acquire()
        if self.error is not None and not self._killed:
            raise self.error

    def _main(self) -> None:
        _here.fiber = self
        try:
            self._target()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 -- raised again in the simulator
            self.error = error
        self.ended = True
        self._back.release()


def sleep(seconds: float) -> None:
    """Let simulated seconds pass in the present fiber."""
    _here.fiber.sleep(seconds)


def present() -> Fiber:
    """Return the fiber that runs."""
    fiber: Fiber = _here.fiber
    return fiber


class Event:
    """`threading.Event` for fibers."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[Fiber] = []

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake all that wait."""
        self._is_set = True
        waiting, self._waiting = self._waiting, []
        for fiber in waiting:
            fiber.wake()

    def clear(self) -> None:
        """Clear it."""
        self._is_set = False

    def wait(self, timeout: float) -> bool:
        """Sleep until it is set, for `timeout` simulated seconds at most."""
        if not self._is_set:
            fiber = present()
            self._waiting.append(fiber)
            fiber.sleep(timeout)
            if fiber in self._waiting:
                self._waiting.remove(fiber)
        return self._is_set
