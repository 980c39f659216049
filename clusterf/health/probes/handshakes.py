"""Handshakes of TLS, in threads: a server can make a single step of one last for seconds, or minutes.

OpenSSL works on what a server sends (keys on curves of the server's choice, groups of any size) before it
verifies anything, and cannot be interrupted. But it does so without Python's lock, so the loop's thread goes
on, and with it all other probes. Other handshakes go on, too: a step that takes long has its thread lowered to
the least priority, and another thread takes its place. From then on, its server's address has one step at
a time, in a thread of that priority.
"""

import asyncio
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

from clusterf.health.probes.costs import Payer
from clusterf.health.targets import Target
from clusterf.lib.log_once import LogOnce

__all__ = ["Client", "Handshakes", "Wait"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_PROMPT: Final = 2  # threads for steps that are expected to be short
_CROWD: Final = 32  # threads of the least priority, with which no more are begun
_MOST: Final = 64  # threads of the least priority, with which no more are made so
_LONG: Final = 0.05  # seconds of CPU: fifty times what a step takes
_LOOK: Final = 0.02  # seconds between looks at what steps have taken
_LEAST: Final = 19  # nice(2)
_MEMORY: Final = 600.0  # seconds for which it is known of an address that its steps take long
_ADDRESSES: Final = 1 << 14  # of which something is known
_REMIND: Final = 60.0  # seconds before another address is logged


class Wait:
    """How long a probe has waited for threads, in all."""

    __slots__ = ("_seconds", "_since")

    def __init__(self) -> None:
        self._seconds = 0.0
        # None: it does not wait
        self._since: float | None = None

    def begin(self, now: float) -> None:
        """Note that it waits from now on."""
        self._since = now

    def end(self, now: float) -> None:
        """Note that it does not wait any more."""
        self._seconds, self._since = self.total(now), None

    def total(self, now: float) -> float:
        """Return the seconds so far."""
        return self._seconds + (now - self._since if self._since is not None else 0.0)


class Client(Payer, Protocol):
    """A probe with TLS."""

    wait: Wait


class _Step:
    """A step of a handshake; `done` is cancelled if nobody waits for it any more."""

    __slots__ = ("client", "done", "target", "work")

    def __init__(self, client: Client, work: Callable[[], Any], done: "asyncio.Future[Any]") -> None:
        self.target = client.target
        # None once it is done, or has been cancelled
        self.client: Client | None = client
        self.work = work
        self.done = done

    @property
    def address(self) -> bytes:
        """The server's."""
        return self.target.endpoint.packed


class _Worker(threading.Thread):
    """A thread that does one step at a time, and reports that to the loop. Raises RuntimeError if it cannot start.

    It keeps no process from ending.
    """

    def __init__(self, report: Callable[["_Worker"], object]) -> None:
        super().__init__(name="handshakes", daemon=True)
        self._report = report
        self._works: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        # what is under way, and how the last one ended
        self.step: _Step | None = None
        self.result: Any = None
        self.error: Exception | None = None
        self.start()
        assert self.ident is not None
        self._clock = time.pthread_getcpuclockid(self.ident)

    def do(self, step: _Step) -> None:
        """Do a step; none may be under way."""
        self.step, self.result, self.error = step, None, None
        self._began = time.clock_gettime(self._clock)
        self._works.put(step.work)

    def spent(self) -> float:
        """Return the CPU time of the step that is under way, in seconds."""
        return time.clock_gettime(self._clock) - self._began

    def lower(self) -> None:
        """Have it run when nothing else does."""
        assert self.native_id is not None
        with suppress(OSError):  # not permitted here: the kernel shares out its time evenly then
            os.setpriority(os.PRIO_PROCESS, self.native_id, _LEAST)

    def end(self) -> None:
        """End the thread after the step that is under way. Nothing else may be called after that."""
        self._works.put(None)

    def run(self) -> None:
        """Do what is put."""
        while (work := self._works.get()) is not None:
            try:
                self.result = work()
            except OSError as error:
                self.error = error.with_traceback(None)  # which would keep all that it refers to
            except Exception as error:  # noqa: BLE001  # it is for who waits
                self.error = error
            del work
            try:
                self._report(self)
            except RuntimeError:  # the loop is closed
                return


class Handshakes:
    """The threads, and the steps that wait for one. To be used in the loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle: list[_Worker] = []
        # those at a step that is not known to take long
        self._busy: set[_Worker] = set()
        # those of the least priority, by the address that they work for
        self._slow: dict[_Worker, bytes] = {}
        self._waiting: deque[_Step] = deque()
        # steps with addresses whose steps are suspected to take long
        self._suspects: deque[_Step] = deque()
        # addresses: until when they are known to take long, or 0 if the last step did not
        self._known: OrderedDict[bytes, float] = OrderedDict()
        # CPU time of steps whose probes had ended: the next probe pays
        self._debts: dict[Target, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._reports = LogOnce(log, remind=_REMIND)

    async def do(self, client: Client, work: Callable[[], T]) -> T:
        """Do the work in a thread, as soon as there is one; return what it returns, or raise its exception.

        The client pays for it. If this is cancelled, work that has begun goes on, and the target's next probe pays.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        step = _Step(client, work, done)
        # (what waits for a step of its own target waits for the target)
        if all(worker.step is None or worker.step.target != client.target for worker in self._slow):
            client.wait.begin(self._loop.time())
        self._waiting.append(step)
        self._start()
        try:
            return await done
        finally:
            step.client = None

    def close(self) -> None:
        """Start no more steps, and end all threads when they have done theirs."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for worker in (*self._idle, *self._busy, *self._slow):
            worker.end()
        self._idle.clear()

    def _start(self) -> None:
        """Start all steps that there are threads for."""
        if self._closed:
            return
        try:
            while self._waiting and (self._idle or len(self._busy) < _PROMPT):
                self._start_or_suspect(self._waiting[0])
                self._waiting.popleft()
            self._start_suspects()
        except RuntimeError as error:  # no more threads: those that there are go on
            if self._reports.is_new("threads", str(error)):
                log.warning("health: no thread for TLS handshakes: %s", error)
        if self._timer is None and (self._busy or self._waiting or self._suspects):
            self._timer = self._loop.call_later(_LOOK, self._look)

    def _start_or_suspect(self, step: _Step) -> None:
        if step.done.done():
            return
        if self._is_suspect(step.address):
            self._suspects.append(step)
            return
        worker = self._idle.pop() if self._idle else self._new_worker()
        self._busy.add(worker)
        self._begin(worker, step)

    def _start_suspects(self) -> None:
        """Start steps in threads of the least priority, one for each address at a time."""
        steps, self._suspects = self._suspects, deque()
        addresses = set(self._slow.values())
        while steps:
            step = steps.popleft()
            if step.done.done():
                continue
            if step.address in addresses or len(self._slow) >= _CROWD:
                self._suspects.append(step)
                continue
            try:
                worker = self._new_worker()
            except RuntimeError:
                self._suspects += (step, *steps)
                raise
            addresses.add(step.address)
            worker.lower()
            self._slow[worker] = step.address
            self._begin(worker, step)

    def _new_worker(self) -> _Worker:
        return _Worker(lambda worker: self._loop.call_soon_threadsafe(self._finished, worker))

    def _begin(self, worker: _Worker, step: _Step) -> None:
        assert step.client is not None
        step.client.wait.end(self._loop.time())
        step.client.cost += self._debts.pop(step.target, 0.0)
        worker.do(step)

    def _finished(self, worker: _Worker) -> None:
        if self._closed:
            return
        step, cpu = worker.step, worker.spent()
        assert step is not None
        worker.step = None
        if worker in self._slow:
            del self._slow[worker]
            worker.end()
        else:
            self._busy.remove(worker)
            self._idle.append(worker)
        self._note(step, cpu)
        if step.client is not None:
            step.client.cost += cpu
        elif step.target in self._debts or len(self._debts) < _ADDRESSES:
            self._debts[step.target] = self._debts.get(step.target, 0.0) + cpu
        if not step.done.done():
            if worker.error is not None:
                step.done.set_exception(worker.error)
            else:
                step.done.set_result(worker.result)
        worker.result = worker.error = None
        self._start()

    def _look(self) -> None:
        """Make way for others where a step takes long."""
        self._timer = None
        for worker in tuple(self._busy):
            if (cpu := worker.spent()) > _LONG and worker.step is not None and len(self._slow) < _MOST:
                self._busy.remove(worker)
                self._slow[worker] = worker.step.address
                worker.lower()
                self._note(worker.step, cpu)
        self._start()

    def _is_suspect(self, address: bytes) -> bool:
        """Tell whether a step with the address may take long."""
        until = self._known.get(address)
        if until is None:
            return len(self._slow) >= _CROWD  # as so many others do
        return until > self._loop.time()

    def _note(self, step: _Step, cpu: float) -> None:
        """Remember what a step has taken."""
        now, until = self._loop.time(), self._known.pop(step.address, 0.0)
        if cpu > _LONG:
            if until <= now and self._reports.is_new("long", "long"):
                log.warning(
                    "health: a TLS handshake with %s takes long, and goes on at the lowest priority",
                    step.target.endpoint,
                )
            until = now + _MEMORY
        self._known[step.address] = until
        if len(self._known) > _ADDRESSES:
            self._known.popitem(last=False)
