"""What runs in place of threads of the code under test: one at a time, and only while the simulator waits for it.

Code that blocks (a follower of etcd that waits for events) runs unchanged: where it
would block, it hands control back to the simulator, which resumes it at the simulated
moment. The order of everything is thus the simulator's.
"""

from collections.abc import Callable

import greenlet

__all__ = ["Event", "Fiber", "Killed", "sleep"]


class Killed(BaseException):
    """The process of this fiber is gone."""


class _Greenlet(greenlet.greenlet):
    fiber: "Fiber"


class Fiber:
    """Runs `target` in turn with the simulator. `later(seconds, call)` queues a call of its process."""

    def __init__(self, target: Callable[[], object], later: Callable[[float, Callable[[], object]], object]) -> None:
        self._target = target
        self._later = later
        self._greenlet: _Greenlet | None = None
        # what resumed it last
        self._resumer = greenlet.getcurrent()
        self._killed = False
        # counts the times that it has slept: a wake-up is for one of them
        self._sleeps = 0
        self.ended = False
        self.error: BaseException | None = None

    def start(self) -> None:
        """Run until the fiber sleeps or ends; called by the simulator."""
        self._greenlet = _Greenlet(self._main)
        self._greenlet.fiber = self
        self._turn()

    def wake(self) -> None:
        """Resume it now if it sleeps; called by the simulator."""
        if not self.ended and self._greenlet is not None:
            self._turn()

    def wake_soon(self) -> None:
        """Have it resumed at the end of this moment, if it still sleeps then; called by any code of its process."""
        number = self._sleeps
        self._later(0.0, lambda: self._wake_from(number))

    def kill(self) -> None:
        """End it where it is."""
        self._killed = True
        self.wake()

    def sleep(self, seconds: float) -> None:
        """Let the simulator go on for so many seconds, or until `wake`; called in the fiber."""
        if self._killed:
            raise Killed  # while it cleans up
        self._sleeps += 1
        number = self._sleeps
        self._later(seconds, lambda: self._wake_from(number))
        self._resumer.switch()
        if self._killed:
            raise Killed

    def _wake_from(self, number: int) -> None:
        if number == self._sleeps:
            self.wake()

    def _turn(self) -> None:
        assert self._greenlet is not None
        self._resumer = self._greenlet.parent = greenlet.getcurrent()
        self._greenlet.switch()
        if self.error is not None and not self._killed:
            raise self.error

    def _main(self) -> None:
        try:
            self._target()
        except Killed:
            pass
        except greenlet.GreenletExit:
            raise
        except BaseException as error:  # noqa: BLE001 -- raised again in the simulator
            self.error = error
        self.ended = True


def sleep(seconds: float) -> None:
    """Let simulated seconds pass in the present fiber."""
    present().sleep(seconds)


def present() -> Fiber:
    """Return the fiber that runs."""
    current = greenlet.getcurrent()
    assert isinstance(current, _Greenlet)
    return current.fiber


def is_one() -> bool:
    """Tell whether a fiber runs."""
    return isinstance(greenlet.getcurrent(), _Greenlet)


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
