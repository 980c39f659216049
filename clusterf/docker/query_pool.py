"""Questions to an engine that somebody else asks: several at a time, the urgent ones first.

One that takes long, as the look at a container that does not get started does,
then holds up nobody. What is asked again before it was answered is answered
once, to what was asked last: older answers may be of a time that is over.
"""

import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from itertools import count
from queue import PriorityQueue
from typing import Any, NamedTuple

from clusterf.docker.engine import Engine, EngineError

__all__ = ["QueryPool", "Result"]

Ask = Callable[[Engine], Any]


class Result(NamedTuple):
    """What came of an errand: an answer, or why there is none."""

    key: Hashable
    number: int
    answer: Any
    error: EngineError | None


class QueryPool:
    """Runs errands in `workers` threads, each with a connection that `connect` makes; `tell` is told the results.

    All but `close` is for one thread only, which is to hand on to `settle` what was told.
    """

    def __init__(self, connect: Callable[[], Engine], tell: Callable[[Result], None], workers: int) -> None:
        self._connect = connect
        self._tell = tell
        self._workers = workers
        self._numbers = count()
        # those that are under way, with the number of the last time that they were asked
        self._pending: dict[Hashable, int] = {}
        # whether it can wait, number, key, and what to ask; without one: end
        self._queue: PriorityQueue[tuple[bool, int, Hashable, Ask | None]] = PriorityQueue()

    def start(self) -> None:
        """Begin."""
        for number in range(self._workers):
            threading.Thread(target=self._work, name=f"docker errands {number}", daemon=True).start()

    def close(self) -> None:
        """Take no more; those that are under way have nobody to tell."""
        for _ in range(self._workers):
            self._queue.put((False, -1, None, None))

    @property
    def pending(self) -> Mapping[Hashable, int]:
        """What has been asked and not answered."""
        return self._pending

    def ask(self, key: Hashable, ask: Ask, *, urgent: bool) -> None:
        """Have something asked; what comes of it is told under `key`."""
        self._pending[key] = number = next(self._numbers)
        self._queue.put((not urgent, number, key, ask))

    def settle(self, result: Result) -> bool:
        """Tell whether the result counts, as nobody has asked the same again since."""
        if self._pending.get(result.key) != result.number:
            return False
        del self._pending[result.key]
        return True

    def _work(self) -> None:
        engine: Engine | None = None
        with suppress(_Over):
            while True:
                key, number, ask = self._next()
                try:
                    engine = engine or self._connect()
                    result = Result(key, number, ask(engine), None)
                except EngineError as error:
                    result = Result(key, number, None, error)
                self._tell(result)
        if engine is not None:
            engine.close()

    def _next(self) -> tuple[Hashable, int, Ask]:
        """Return the next errand that still counts. Raises _Over."""
        while True:
            _, number, key, ask = self._queue.get()
            if ask is None:
                raise _Over
            if self._pending.get(key) == number:
                return key, number, ask


class _Over(Exception):
    """There are no more errands."""
