"""Following a Docker engine: what its containers and networks make, as it changes.

Subscribe first, then list, then go on with what was told meanwhile. So it is at
every connection; and at an interval all is listed again. What happened while
there was no connection is asked for before the list, as far as the engine still
knows: a container that was told to stop, and finishes its requests, looks like
any other that runs.

A list is the ids of all containers, and a look at each that has labels of ours.
Events are heeded meanwhile, and so a list can be out of date when it is whole.
Therefore each look counts by itself, and only containers that were neither in
the list nor looked at since are taken to be gone.

While the engine is away, or silent and does not answer a ping, all that is
known stays; it is tried again for ever.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final

import msgspec

from clusterf.docker.containers import PREFIX, Container, Network, container_of, convert, network_of
from clusterf.docker.engine import Engine, EngineError, Refused
from clusterf.docker.inventory import Changes, Inspection, Inventory
from clusterf.docker.query_pool import QueryPool, Result
from clusterf.lib.backoff import Backoff
from clusterf.lib.jitter import jittered

__all__ = ["EngineFollower"]

log = logging.getLogger(__name__)

LIST: Final = "list"  # the errand
WORKERS: Final = 4
PING: Final = 5.0  # seconds of silence after which the engine is asked whether it lives
RETRY: Final = 10.0  # seconds, about, until a new list, where something could not be read
STABLE: Final = 10.0  # seconds that a connection must have lasted for the next try to be made at once

Say = Callable[[Changes, bool], None]
"""Takes what changed, and whether what the fleet then wants is all there is."""


class _Id(msgspec.Struct, rename="pascal"):
    id: str


class _Summary(_Id):
    labels: dict[str, str] | None = None


class EngineFollower:
    """Tells `fleet` what an engine says, and `say` what came of it, in the thread that calls `run`.

    `name` is for the log. Everything is listed again about every `interval` seconds.
    """

    def __init__(self, name: str, connect: Callable[[], Engine], fleet: Inventory, interval: float, say: Say) -> None:
        self._name = name
        self._connect = connect
        self._fleet = fleet
        self._interval = interval
        self._say = say
        self._backoff = Backoff(initial=0.1, longest=2.0)
        self._stopping = threading.Event()
        self._relist = threading.Event()
        # events, results, what is wrong with the connection, and None to look up
        self._inbox: SimpleQueue[bytes | Result | EngineError | None] = SimpleQueue()
        # whether the connection was made, or not yet tried; so it is worth a warning if it is not
        self._well = True
        # the time of the last event by the engine's clock, in nanoseconds
        self._last = 0
        # why containers and networks, by id, could not be read when last looked at
        self._unread: dict[str, str] = {}

    def stop(self) -> None:
        """Have `run` return soon; may be called by any thread."""
        self._stopping.set()
        self._inbox.put(None)

    def again(self) -> None:
        """List everything anew; may be called by any thread."""
        self._relist.set()
        self._inbox.put(None)

    def run(self) -> None:
        """Follow until told to stop."""
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                with self._connect() as engine:
                    self._follow(engine)
            except EngineError as error:
                if time.monotonic() - began > STABLE:
                    self._backoff.reset()
                # said once; the tries that follow are many
                level = logging.WARNING if self._well else logging.DEBUG
                log.log(level, "docker: %s: %s; what is published stays", self._name, error)
                self._well = False
                self._stopping.wait(self._backoff.next())

    def _follow(self, engine: Engine) -> None:
        """Follow by one connection. Raises EngineError when it is over."""
        inbox: SimpleQueue[bytes | Result | EngineError | None] = SimpleQueue()
        self._inbox = inbox  # what was under way before is of no interest any more
        self._errands = QueryPool(engine.another, inbox.put, WORKERS)
        # whether there was a list on this connection; what was there before may be long out of date
        self._listed = False
        # of the list that is under way, or of the last one: what was found, or looked at since it was begun
        self._there: set[str] = set()
        self._listing = False
        # looks that it waits for
        self._awaited: set[Inspection] = set()
        self._errands.start()
        stream = engine.another()
        try:
            now = engine.clock()
            threading.Thread(target=_read, args=(stream, str(now), inbox), name="docker events", daemon=True).start()
            self._catch_up(engine, now)
            self._list()
            self._well = True
            log.info("docker: %s: following, by version %s of the API", self._name, engine.version)
            while not self._stopping.is_set():
                self._step(engine)
        finally:
            self._errands.close()
            stream.close()

    def _catch_up(self, engine: Engine, now: int) -> None:
        """Take in what happened before `now`, by the engine's clock, as far as it is news."""
        since, nanoseconds = divmod(self._last + 1, 10**9)
        if since < now:
            for line in engine.events(f"{since}.{nanoseconds:09d}", str(now)):
                self._take_in(line)  # everything is looked at next

    def _step(self, engine: Engine) -> None:
        """Wait for something to do, and do all of it."""
        try:
            self._heed(self._inbox.get(timeout=max(0.0, min(PING, self._next_list - time.monotonic()))))
            while not self._inbox.empty():
                self._heed(self._inbox.get())
        except Empty:
            engine.clock()
        if self._relist.is_set() or time.monotonic() >= self._next_list:
            self._list()
        if self._listed:
            self._tell()

    def _tell(self, *, whole: bool = False) -> None:
        changes = self._fleet.flush()
        if whole or any(changes):
            self._say(changes, whole)

    def _heed(self, told: bytes | Result | EngineError | None) -> None:
        match told:
            case bytes():
                if (look := self._take_in(told)) is not None:
                    self._look(look, urgent=True)
            case Result() if self._errands.settle(told):
                self._settle(told)
            case EngineError():
                raise told

    def _take_in(self, line: bytes) -> Inspection | None:
        """Take in an event; return what has to be looked at for it."""
        try:
            raw = msgspec.json.decode(line)
            look = self._fleet.event(raw)
        except (ValueError, msgspec.DecodeError) as error:
            log.warning("docker: %s: an event cannot be understood: %s", self._name, error)
            return None
        self._last = max(self._last, raw.get("timeNano", 0))
        return look

    def _look(self, look: Inspection, *, urgent: bool) -> None:
        self._there.add(look.id)
        self._errands.ask(look, partial(_inspect, look), urgent=urgent)

    def _list(self) -> None:
        """Begin to list everything."""
        self._relist.clear()
        self._next_list = time.monotonic() + jittered(self._interval)
        self._listing = True
        self._awaited.clear()
        self._there = set()
        self._errands.ask(LIST, lambda engine: (engine.containers(), engine.networks()), urgent=True)

    def _settle(self, result: Result) -> None:
        if isinstance(result.key, Inspection):
            self._awaited.discard(result.key)
            self._settle_look(result.key, result.answer, result.error)
        elif result.error is not None:
            raise result.error
        else:
            self._settle_list(*result.answer)
        if self._listing and not self._awaited and LIST not in self._errands.pending:
            self._end_list()

    def _settle_list(self, containers: list[Any], networks: list[Any]) -> None:
        """Take in which containers there are, and have those looked at that matter; networks are told as a whole."""
        try:
            summaries = convert(containers, list[_Summary])
            ids = convert(networks, list[_Id])
        except ValueError as error:
            raise EngineError(str(error)) from None
        for network, raw in zip(ids, networks, strict=True):
            self._there.add(network.id)
            self._take(network.id, network_of, raw)
        for summary in summaries:
            self._there.add(summary.id)
            if not any(label.startswith(PREFIX) for label in summary.labels or ()):
                self._fleet.inspected(Container(summary.id, "", {}))
                continue
            look = Inspection("container", summary.id)
            self._awaited.add(look)
            if look not in self._errands.pending:
                self._look(look, urgent=False)

    def _settle_look(self, look: Inspection, answer: Any, error: EngineError | None) -> None:
        if isinstance(error, Refused):
            self._cannot_read(look.id, str(error))
        elif error is not None:
            raise error
        elif answer is None:
            self._fleet.vanished(look.id)
        else:
            self._take(look.id, container_of if look.kind == "container" else network_of, answer)

    def _take(self, one: str, understand: Callable[[Any], Container | Network], answer: Any) -> None:
        try:
            self._fleet.inspected(understand(answer))
        except ValueError as error:
            self._cannot_read(one, str(error))
        else:
            self._unread.pop(one, None)

    def _cannot_read(self, one: str, reason: str) -> None:
        if self._unread.get(one) != reason:
            self._unread[one] = reason
            log.warning("docker: %s: cannot be read: %s; what is known of it stays", one[:12], reason)

    def _end_list(self) -> None:
        """Let go of what is neither in the list nor was looked at since."""
        self._listing, self._listed = False, True
        self._fleet.listed([], [], self._there)
        self._unread = {one: reason for one, reason in self._unread.items() if one in self._there}
        if self._unread:
            self._next_list = min(self._next_list, time.monotonic() + jittered(RETRY))
        self._tell(whole=not self._unread)


def _inspect(look: Inspection, engine: Engine) -> Any:
    return engine.inspect(look.kind, look.id)


def _read(engine: Engine, since: str, inbox: "SimpleQueue[Any]") -> None:
    """Put into `inbox` what happens, until the connection ends, and then why."""
    try:
        for event in engine.events(since):
            inbox.put(event)
        inbox.put(EngineError("it tells no more events"))
    except EngineError as error:
        inbox.put(error)
