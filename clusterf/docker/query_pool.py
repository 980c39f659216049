"""Queries to an engine from several threads, urgent ones first.

A slow query, such as the inspection of a container that does not get started,
delays no other. A query that is repeated before it was answered is answered
once, by the last one asked: earlier answers may be stale.
"""

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from itertools import count
from queue import PriorityQueue
from typing import Any, NamedTuple

from clusterf.docker.engine import Engine, EngineError

__all__ = ["QueryPool", "Result"]

Query = Callable[[Engine], Any]


class Result(NamedTuple):
    """The answer to a query, or the error that it ended with."""

    key: Hashable
    number: int
    answer: Any
    error: EngineError | None


class QueryPool:
    """Runs queries in `workers` threads, each with a connection of its own from `connect`.

    The workers pass each result to `deliver`; its receiver asks `accept`
    whether the result is still current. All methods but `close` are for one
    thread only.
    """

    def __init__(self, connect: Callable[[], Engine], deliver: Callable[[Result], None], workers: int) -> None:
        self._connect = connect
        self._deliver = deliver
        self._workers = workers
        self._numbers = count()
        # the number of the last query of each key, until it is answered
        self._pending: dict[Hashable, int] = {}
        # not urgent, number, key, query; without a query: stop
        self._queue: PriorityQueue[tuple[bool, int, Hashable, Query | None]] = PriorityQueue()

    def start(self) -> None:
        """Start the workers."""
        for number in range(self._workers):
            threading.Thread(target=self._work, name=f"docker queries {number}", daemon=True).start()

    def close(self) -> None:
        """Stop the workers, each after the query that it is running."""
        for _ in range(self._workers):
            self._queue.put((False, -1, None, None))

    def is_pending(self, key: Hashable) -> bool:
        """Tell whether a query of this key has been asked and not answered."""
        return key in self._pending

    def ask(self, key: Hashable, query: Query, *, urgent: bool) -> None:
        """Queue a query, whose result is delivered under `key`; it replaces a pending one of the same key."""
        self._pending[key] = number = next(self._numbers)
        self._queue.put((not urgent, number, key, query))

    def accept(self, result: Result) -> bool:
        """Tell whether a result is current, and if so, settle its query; False: it was asked again since."""
        if self._pending.get(result.key) != result.number:
            return False
        del self._pending[result.key]
        return True

    def _work(self) -> None:
        engine: Engine | None = None
        with suppress(_Closed):
            while True:
                key, number, query = self._next()
                try:
                    engine = engine or self._connect()
                    result = Result(key, number, query(engine), None)
                except EngineError as error:
                    result = Result(key, number, None, error)
                self._deliver(result)
        if engine is not None:
            engine.close()

    def _next(self) -> tuple[Hashable, int, Query]:
        """Return the next query that was not replaced. Raises _Closed."""
        while True:
            _, number, key, query = self._queue.get()
            if query is None:
                raise _Closed
            if self._pending.get(key) == number:
                return key, number, query


class _Closed(Exception):
    """The pool was closed."""
