"""Following a Docker engine, from one connection to the next.

While the engine is away, or hangs and does not answer a ping, the last known
state stays; it is retried for ever.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Final, NamedTuple

from clusterf.docker.engine import Engine, EngineError
from clusterf.docker.intake import Intake, OnChanges
from clusterf.docker.inventory import Inventory
from clusterf.docker.session import Inbox, Request, Session
from clusterf.lib.backoff import Backoff

__all__ = ["NO_HOOKS", "EngineFollower", "Hooks"]

log = logging.getLogger(__name__)

STABLE: Final = 10.0  # seconds after which a lost connection is retried at once


class Hooks(NamedTuple):
    """What is called in the follower's thread.

    With the engine's id, empty if it is not known, at each connection; when the engine is away or hangs; and
    when the inventory has taken in what was found published.
    """

    on_engine: Callable[[str], None]
    on_failure: Callable[[], None]
    on_found: Callable[[Mapping[bytes, bytes]], None]


NO_HOOKS = Hooks(lambda _: None, lambda: None, lambda _: None)


class EngineFollower:
    """Keeps `inventory` as the engine is, and passes what changes to `on_changes`, in the thread that calls `run`.

    `name` is for the log. Everything is listed about every `interval` seconds.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Engine],
        inventory: Inventory,
        interval: float,
        on_changes: OnChanges,
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        self._name = name
        self._hooks = hooks
        self._inventory = inventory
        # what was found published, until the inventory has taken it in
        self._found: Mapping[bytes, bytes] | None = None
        self._connect = connect
        self._intake = Intake(name, inventory, on_changes)
        self._interval = interval
        self._backoff = Backoff(initial=0.1, longest=2.0)
        self._stopping = threading.Event()
        self._inbox: Inbox = SimpleQueue()
        # the last try succeeded, or there was none: a failure is worth a warning
        self._connected = True

    def stop(self) -> None:
        """Have `run` return soon; may be called by any thread."""
        self._stopping.set()
        self._inbox.put(Request.WAKE)

    def relist(self) -> None:
        """List everything again; may be called by any thread."""
        # without a connection nobody reads this, but each begins with a list
        self._inbox.put(Request.LIST)

    def found(self, keys: Mapping[bytes, bytes]) -> None:
        """Say what an earlier node has published; may be called by any thread."""
        self._found = keys
        self._inbox.put(Request.WAKE)

    def run(self) -> None:
        """Follow until `stop` is called."""
        while not self._stopping.is_set():
            began = time.monotonic()
            self._take_found()
            try:
                with self._connect() as engine:
                    self._follow(engine)
            except EngineError as error:
                if time.monotonic() - began > STABLE:
                    self._backoff.reset()
                self._log_failure(error)
                self._take_found()
                self._hooks.on_failure()
                self._stopping.wait(self._backoff.next())

    def _follow(self, engine: Engine) -> None:
        """Follow by one connection. Raises EngineError when it is lost."""
        self._inbox = SimpleQueue()  # results of earlier connections are stale
        self._hooks.on_engine(engine.id())
        with Session(engine, self._inbox, self._intake, self._interval) as session:
            self._connected = True
            log.info("docker: %s: connected (API version %s)", self._name, engine.version)
            while not self._stopping.is_set():
                self._take_found()
                session.step()

    def _take_found(self) -> None:
        if (found := self._found) is not None:
            self._found = None
            self._inventory.found(found)
            if self._intake.completed:
                self._intake.report()
            self._hooks.on_found(found)

    def _log_failure(self, error: EngineError) -> None:
        level = logging.WARNING if self._connected else logging.DEBUG
        log.log(level, "docker: %s: unavailable (%s), reconnecting; keeping the published keys", self._name, error)
        self._connected = False
