"""One connection to a Docker engine: its events, its lists, and the inspections that both call for.

Subscribe first, then catch up, then list. Events since the last connection are
asked for before the list, as far as the engine still has them: a container
that was signalled to stop and finishes its requests looks like any other
running one.

A list is the ids of all containers, and an inspection of each that has labels
of ours. Events are handled meanwhile, so a list can be out of date when it is
complete. Therefore each inspection counts by itself, and only containers that
were neither listed nor inspected since are taken as removed.
"""

import threading
from contextlib import ExitStack
from enum import Enum, auto
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Self

from clusterf.docker.engine import Engine, EngineError
from clusterf.docker.intake import Intake
from clusterf.docker.inventory import Inspection
from clusterf.docker.listing import Listing
from clusterf.docker.query_pool import QueryPool, Result
from clusterf.lib.jitter import jittered

__all__ = ["Inbox", "Request", "Session"]

LIST: Final = "list"  # the key of that query
WORKERS: Final = 4
PING: Final = 5.0  # seconds without an event, after which the engine is pinged
RETRY: Final = 10.0  # seconds, about, until the next list if something could not be read


class Request(Enum):
    """What another thread wants: everything listed again, or the loop woken up."""

    LIST = auto()
    WAKE = auto()


Inbox = SimpleQueue[bytes | Result | EngineError | Request]
"""Events, results, the error that ended the event stream, and requests."""


class Session:
    """Follows an engine by one connection, between enter and exit; `step` does the work, in the thread that calls it.

    Everything is listed about every `interval` seconds. Entering and `step`
    raise EngineError when the connection is lost.
    """

    def __init__(self, engine: Engine, inbox: Inbox, intake: Intake, interval: float) -> None:
        self._engine = engine
        self._inbox = inbox
        self._intake = intake
        self._listing = Listing(interval)
        self._queries = QueryPool(engine.another, inbox.put, WORKERS)
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._queries.start()
            stack.callback(self._queries.close)
            stream = stack.enter_context(self._engine.another())
            now = self._engine.clock()
            reader = threading.Thread(
                target=_read_events, args=(stream, str(now), self._inbox), name="docker events", daemon=True
            )
            reader.start()
            self._catch_up(now)
            self._list()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def step(self) -> None:
        """Wait for something to do, and do all of it."""
        try:
            self._handle(self._inbox.get(timeout=min(PING, self._listing.wait, self._intake.wait)))
            while not self._inbox.empty():
                self._handle(self._inbox.get())
        except Empty:
            self._engine.clock()
        for inspection in self._intake.looks():
            self._inspect(inspection, urgent=True)
        if not self._listing.wait:
            self._list()
        if self._listing.completed:
            self._intake.report()

    def _catch_up(self, now: int) -> None:
        """Take in the events between the last one and `now`, Unix time in seconds by the engine's clock."""
        since, nanoseconds = divmod(self._intake.last_event + 1, 10**9)
        if since > now:  # the clock was set back: all that the engine still has
            since = nanoseconds = 0
        if since < now:
            for line in self._engine.events(f"{since}.{nanoseconds:09d}", str(now)):
                self._intake.event(line)  # the list inspects everything anyway

    def _handle(self, item: bytes | Result | EngineError | Request) -> None:
        match item:
            case bytes():
                if (inspection := self._intake.event(item, live=True)) is not None:
                    self._inspect(inspection, urgent=True)
            case Result() if self._queries.accept(item):
                self._settle(item)
            case EngineError():
                raise item
            case Request.LIST:
                self._listing.hasten()

    def _list(self) -> None:
        self._listing.begin()
        self._queries.ask(LIST, lambda engine: (engine.containers(), engine.networks()), urgent=True)

    def _inspect(self, inspection: Inspection, *, urgent: bool) -> None:
        self._listing.inspecting(inspection)
        self._queries.ask(inspection, partial(_inspect, inspection), urgent=urgent)

    def _settle(self, result: Result) -> None:
        if isinstance(result.key, Inspection):
            self._listing.inspected(result.key)
            self._intake.inspected(result.key, result.answer, result.error)
        elif result.error is not None:
            raise result.error
        else:
            self._settle_list(*result.answer)
        if self._listing.complete() and not self._intake.list_completed(self._listing.present):
            self._listing.hasten(jittered(RETRY))

    def _settle_list(self, containers: list[Any], networks: list[Any]) -> None:
        present, inspections = self._intake.listed(containers, networks)
        self._listing.answer(present, inspections)
        for inspection in inspections:
            if not self._queries.is_pending(inspection):
                self._inspect(inspection, urgent=False)


def _inspect(inspection: Inspection, engine: Engine) -> Any:
    return engine.inspect(inspection.kind, inspection.id)


def _read_events(engine: Engine, since: str, inbox: Inbox) -> None:
    """Put all events into `inbox`, and at last the error that ended the stream."""
    try:
        for event in engine.events(since):
            inbox.put(event)
        inbox.put(EngineError("the event stream ended"))
    except EngineError as error:
        inbox.put(error)
