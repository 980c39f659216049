"""Connections to a simulated engine, as the code under test has them: `clusterf.docker.engine.Engine`, in fibers."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Self, TypeVar

from clusterf.docker.engine import CALL, SILENCE, EngineError, Refused
from tests.sim import fibers
from tests.sim.process import present

if TYPE_CHECKING:
    from tests.sim.hosts.engine import Engine

__all__ = ["Connection", "Stream"]

T = TypeVar("T")
DELAY = 0.002  # seconds that an answer or an event takes, on average


class Stream:
    """A stream of events, which arrive in their order, each in its time, at the fiber that reads them."""

    def __init__(self, engine: "Engine", lines: list[bytes]) -> None:
        self._engine = engine
        self._process = present()
        self._fiber = fibers.present()
        self._arrived: deque[bytes] = deque(lines)
        self._last = 0.0
        self._ended = False
        engine.streams.append(self)
        self._process.on_death.append(self._forget)

    def send(self, line: bytes) -> None:
        """Have an event arrive."""
        now = self._engine.simulation.now
        self._last = max(self._last, now + _delay(self._engine))
        self._process.later(self._last - now, lambda: self._arrive(line))

    def end(self) -> None:
        """Break it: what is under way is lost."""
        self._forget()
        self._ended = True
        self._process.later(0.0, self._fiber.wake_soon)

    def lines(self) -> Iterator[bytes]:
        """Yield the events, until it breaks. Raises EngineError."""
        while True:
            while self._arrived:
                yield self._arrived.popleft()
            if not self._ended:
                before = self._engine.simulation.now
                self._fiber.sleep(SILENCE)
                if not self._arrived and not self._ended and self._engine.simulation.now - before >= SILENCE:
                    raise EngineError("timed out")
            elif not self._arrived:
                raise EngineError("connection reset by peer")

    def _arrive(self, line: bytes) -> None:
        if not self._ended:
            self._arrived.append(line)
            self._fiber.wake_soon()

    def _forget(self) -> None:
        if self in self._engine.streams:
            self._engine.streams.remove(self)


class Connection:
    """A connection of the present process to the engine of its host."""

    version = "1.44"

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._stream: Stream | None = None
        self._closed = False
        self._call(lambda: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def another(self) -> "Connection":
        """Return one more."""
        return Connection(self._engine)

    def close(self) -> None:
        """End its stream, if there is one."""
        self._closed = True
        if self._stream is not None:
            self._stream.end()

    def id(self) -> str:
        """Return the engine's id."""
        return self._call(lambda: self._engine.name)

    def clock(self) -> int:
        """Return the engine's time in seconds."""
        return self._call(lambda: self._engine.clock() // 10**9)

    def containers(self) -> list[Any]:
        """Return a summary of every container."""
        return self._call(lambda: [one.summary() for one in self._engine.containers.values()])

    def networks(self) -> list[Any]:
        """Return every network."""
        return self._call(self._engine.networks)

    def inspect(self, kind: str, object_id: str) -> Any:
        """Return the description of a container or a network, None if there is none."""

        def look() -> Any:
            if object_id in self._engine.refusing:
                raise Refused("server error")
            if kind == "network":
                return next((network for network in self._engine.networks() if network["Id"] == object_id), None)
            one = self._engine.containers.get(object_id)
            return one.inspection() if one is not None else None

        return self._call(look)

    def events(self, since: str, until: str | None = None) -> Iterator[bytes]:
        """Yield events from some time on, or only those before another one."""
        first, last = _nanoseconds(since), _nanoseconds(until) if until is not None else None

        def past() -> list[bytes]:
            # as an engine does: from the last one back to the first that is older, whatever its clock was before
            found = takewhile(lambda event: event[0] >= first, reversed(self._engine.events))
            return [line for at, line in found if line and (last is None or at <= last)][::-1]

        if last is not None:
            yield from self._call(past)
            return
        self._stream = stream = self._call(lambda: Stream(self._engine, past()))
        yield from stream.lines()

    def _call(self, ask: Callable[[], T]) -> T:
        """Ask the engine. Raises EngineError."""
        fibers.sleep(_delay(self._engine))
        end = self._engine.simulation.now + CALL
        while self._engine.is_hung:
            if self._engine.simulation.now >= end:
                raise Refused(f"timed out after {CALL:g} seconds")
            fibers.sleep(0.25)
        if self._engine.is_down or self._closed:
            raise EngineError("Connection refused")
        answer = ask()
        fibers.sleep(_delay(self._engine))
        return answer


def _delay(engine: "Engine") -> float:
    return engine.simulation.random.random() * 2 * DELAY


def _nanoseconds(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0") or 0)
