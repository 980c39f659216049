"""A simulated process: real actors whose messages and timers go through the simulator.

The actors are the real ones, made by the real wiring (`actors.<process>.process.start`). Only
what would start a thread is replaced, in a subclass made on the spot: the inbox, timers,
the event loop, and the worker of a ThreadedActor, which becomes a fiber.
"""

import traceback
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pykka

from actors.base.actor import Actor
from actors.base.asyncio_actor import AsyncioActor, Inbox
from actors.base.threaded_actor import ThreadedActor
from tests.sim.fibers import Fiber
from tests.sim.simulation import Call, Simulation

if TYPE_CHECKING:
    from tests.sim.node import Node

__all__ = ["Loop", "Process", "enter", "leave", "present", "start_actor"]

LATENCY = 0.0002  # seconds from a message to its receipt, on average


class Process:
    """A process of `node`: alive until it is killed or one of its actors fails; paused for a while, perhaps."""

    def __init__(self, simulation: Simulation, node: "Node", name: str) -> None:
        self.simulation = simulation
        self.node = node
        self.name = name
        self.alive = True
        self.paused = False
        self.actors: list[Any] = []
        self._fibers: list[Fiber] = []
        self._put_off: list[Callable[[], object]] = []
        # what ends with the process: connections of links
        self.on_death: list[Callable[[], object]] = []

    def later(self, seconds: float, function: Callable[[], object]) -> Call:
        """Have the process call `function` in so many seconds, if it lives; when it is paused, afterwards."""
        return self.simulation.after(seconds, lambda: self.run(function))

    def run(self, function: Callable[[], object]) -> None:
        """Run `function` as code of this process."""
        if not self.alive:
            return
        if self.paused:
            self._put_off.append(function)
            return
        before, self.simulation.current = self.simulation.current, self
        try:
            function()
        except Exception as error:  # noqa: BLE001 -- what fails a process is reported as such
            self.node.failed(self, error, traceback.format_exc())
        finally:
            self.simulation.current = before

    def fiber(self, target: Callable[[], object]) -> Fiber:
        """Return a fiber of this process, which is not started yet."""
        fiber = Fiber(target, self.later)
        self._fibers.append(fiber)
        return fiber

    def pause(self) -> None:
        """Stop it, as SIGSTOP does."""
        self.paused = True

    def resume(self) -> None:
        """Go on, as after SIGCONT: what was due meanwhile runs now."""
        self.paused = False
        put_off, self._put_off = self._put_off, []
        for function in put_off:
            self.run(function)

    def kill(self) -> None:
        """End it at once, as SIGKILL does."""
        if not self.alive:
            return
        self.alive = False
        before, self.simulation.current = self.simulation.current, self
        for actor in self.actors:
            actor.actor_stopped.set()
            actor.actor_inbox.clear()
        for fiber in self._fibers:
            fiber.kill()
        self.simulation.current = before
        for function in self.on_death:
            function()
        self._put_off.clear()

    def stop(self) -> None:
        """Stop its actors, against the flow, as a child process does."""
        for actor in reversed(self.actors):
            self.run(actor.on_stop)
        self.kill()


class _Inbox(Inbox):
    """An inbox that has the simulator handle each message, one at a time."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
        self._waiting: deque[Any] = deque()
        self.actor: Any = None

    def attach(self, loop: Any) -> None:
        pass

    def detach(self) -> None:
        pass

    def clear(self) -> None:
        self._waiting.clear()

    def put(self, envelope: Any, /) -> None:
        self.add(envelope.message)

    def add(self, message: Any) -> None:
        self._waiting.append(message)
        if len(self._waiting) == 1:
            self._next()

    def qsize(self) -> int:
        return len(self._waiting)

    def _next(self) -> None:
        simulation = self._process.simulation
        self._process.later(simulation.random.random() * 2 * LATENCY, self._handle)

    def _handle(self) -> None:
        if not self._waiting:
            return
        message = self._waiting[0]
        try:
            self.actor.on_receive(message)
        finally:
            if self._waiting:
                self._waiting.popleft()
            if self._waiting:
                self._next()


class Loop:
    """What the health process uses of an asyncio event loop."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def call_later(self, seconds: float, function: Callable[..., object], *arguments: Any) -> Call:
        """Call `function` in so many seconds."""
        return self._process.later(seconds, lambda: function(*arguments))

    def call_soon(self, function: Callable[..., object], *arguments: Any) -> Call:
        """Call `function` at the end of this moment."""
        return self.call_later(0.0, function, *arguments)

    def time(self) -> float:
        """Return the loop's clock."""
        return self._process.simulation.now

    def stop(self) -> None:
        """Do nothing: it does not run between calls."""

    def close(self) -> None:
        """Do nothing."""


def start_actor(kind: Any, *arguments: Any, **options: Any) -> pykka.ActorRef[Any]:
    """Start an actor of this class in the present process; in place of `pykka.Actor.start`."""
    process = present()
    actor = _simulated(kind, process)(*arguments, **options)
    actor.actor_inbox.actor = actor
    process.actors.append(actor)
    process.later(0.0, actor.on_start)
    return actor.actor_ref


_SIMULATIONS: list[Simulation] = []


def present() -> Process:
    """Return the process whose code runs."""
    process = _SIMULATIONS[-1].current
    assert process is not None
    return process


def enter(simulation: Simulation) -> None:
    """Have actors start in the processes of this simulation."""
    _SIMULATIONS.append(simulation)


def leave() -> None:
    """Undo `enter`."""
    _SIMULATIONS.pop()


class _Simulated(Actor):
    """What every simulated actor has: timers of the simulator."""

    process: Process

    def tell_later(self, seconds: float, message: Any) -> None:
        self.process.later(seconds, lambda: self.actor_inbox.add(message))


class _SimulatedAsyncio(_Simulated, AsyncioActor):
    def on_start(self) -> None:
        self.loop = Loop(self.process)  # type: ignore[assignment]

    def on_stop(self) -> None:
        pass


class _SimulatedThreaded(_Simulated, ThreadedActor):
    def on_start(self) -> None:
        self.process.fiber(self.work).start()

    def on_stop(self) -> None:
        self.stop_work()


def _simulated(kind: Any, process: Process) -> Any:
    """Return a subclass of an actor's class that needs no thread."""
    base = next((s for k, s in _BASES if issubclass(kind, k)), _Simulated)
    return type(
        kind.__name__, (kind, base), {"process": process, "_create_actor_inbox": staticmethod(lambda: _Inbox(process))}
    )


_BASES = ((AsyncioActor, _SimulatedAsyncio), (ThreadedActor, _SimulatedThreaded))
