"""How long this process did not run: while it is stopped, or starved of CPU, it does not read what targets send.

A timeout is for the target, so it counts only the time in which the process would have read a response.
"""

import asyncio
from typing import Final

__all__ = ["Pauses"]

_TICK: Final = 0.05  # seconds between looks: a pause that is shorter may not be noticed
_TOLERANCE: Final = 0.01  # seconds by which a timer is late on an idle machine, at most


class Pauses:
    """The sum of the seconds by which `loop` was late, from the start on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sum = 0.0
        self._tick()

    def total(self) -> float:
        """Return the sum so far, with the present one."""
        late = self._loop.time() - self._due
        return self._sum + late if late > _TOLERANCE else self._sum

    def close(self) -> None:
        """Stop looking."""
        self._timer.cancel()

    def _tick(self) -> None:
        self._due = self._loop.time() + _TICK
        self._timer = self._loop.call_later(_TICK, self._look)

    def _look(self) -> None:
        self._sum = self.total()
        self._tick()
