"""What probes cost the thread that runs them all, by target, so that a busy process says which ones it is busy with.

The thread's CPU time is attributed to the probe that is *entered*, until another one is, or none. That is
exact for bare sockets and for the steps of tasks; for TLS it is from the moment that data is read until
the loop's next turn.
"""

import time
import types
from collections.abc import Callable, Coroutine, Generator
from heapq import nlargest
from typing import Any, Final, Protocol, TypeVar

from clusterf.health.targets import Target

__all__ = ["PERIOD", "Costs", "Payer"]

T = TypeVar("T")

PERIOD: Final = 10.0
"""Seconds over which CPU time is added up."""
_BUSY: Final = 0.8  # share of a CPU from which the thread is busy
_NAMED: Final = 5  # targets


class Payer(Protocol):
    """A probe. `cost` is its CPU time so far, in seconds."""

    target: Target
    cost: float


class Costs:
    """CPU time by probe, and by target for a period. `cpu` and `clock` are in seconds."""

    def __init__(
        self, cpu: Callable[[], float] = time.thread_time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cpu = cpu
        self._clock = clock
        # the probe that is entered, and when it was
        self._payer: Payer | None = None
        self._entered = 0.0
        # of the present period: what each target has cost, and both clocks at the beginning
        self._by_target: dict[Target, float] = {}
        self._began = clock(), cpu()

    def enter(self, payer: Payer | None) -> None:
        """Have the probe pay from now on, None: nobody."""
        now = self._cpu()
        if self._payer is not None:
            cost, target = now - self._entered, self._payer.target
            self._payer.cost += cost
            self._by_target[target] = self._by_target.get(target, 0.0) + cost
        self._payer, self._entered = payer, now

    def leave(self) -> None:
        """Have nobody pay from now on."""
        if self._payer is not None:
            self.enter(None)

    async def steps(self, payer: Payer, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the work, and have the probe pay for its steps, but not for what it waits for."""
        return await self._steps(payer, work())

    @types.coroutine
    def _steps(self, payer: Payer, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        step: Callable[[Any], Any] = work.send
        argument: Any = None
        while True:
            self.enter(payer)
            try:
                awaited = step(argument)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                argument = None  # breaks a cycle, if it is an error
                self.leave()
            try:
                step, argument = work.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001  # it is for the work, also if that is cancelled
                step, argument = work.throw, error

    def end_period(self) -> str:
        """Return what the thread was busy with since the last call, empty if it was not busy."""
        self.leave()
        now = self._clock(), self._cpu()
        seconds, cpu = (after - before for before, after in zip(self._began, now, strict=True))
        costs, self._by_target, self._began = self._by_target, {}, now
        if cpu < _BUSY * seconds:
            return ""
        most = nlargest(_NAMED, costs, key=lambda target: costs[target])
        shares = (f"{one.endpoint} ({one.check.type}, {100 * costs[one] / cpu:.0f} %)" for one in most)
        return f"{100 * cpu / seconds:.0f} % of a CPU, most of it for {', '.join(shares) or 'no target'}"
