"""Following a Docker engine, from one connection to the next.

While the engine is away, or hangs and does not answer a ping, the last known
state stays; it is retried for ever.
"""

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from clusterf.docker.engine import Engine, EngineError
from clusterf.docker.intake import Intake, OnChanges
from clusterf.docker.inventory import Inventory
from clusterf.docker.session import Inbox, Request, Session
from clusterf.lib.backoff import Backoff

__all__ = ["EngineFollower"]

log = logging.getLogger(__name__)

STABLE: Final = 10.0  # seconds after which a lost connection is retried at once


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
    ) -> None:
        self._name = name
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

    def run(self) -> None:
        """Follow until `stop` is called."""
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                with self._connect() as engine:
                    self._follow(engine)
            except EngineError as error:
                if time.monotonic() - began > STABLE:
                    self._backoff.reset()
                self._log_failure(error)
                self._stopping.wait(self._backoff.next())

    def _follow(self, engine: Engine) -> None:
        """Follow by one connection. Raises EngineError when it is lost."""
        self._inbox = SimpleQueue()  # results of earlier connections are stale
        with Session(engine, self._inbox, self._intake, self._interval) as session:
            self._connected = True
            log.info("docker: %s: connected (API version %s)", self._name, engine.version)
            while not self._stopping.is_set():
                session.step()

    def _log_failure(self, error: EngineError) -> None:
        level = logging.WARNING if self._connected else logging.DEBUG
        log.log(level, "docker: %s: unavailable (%s), reconnecting; keeping the published keys", self._name, error)
        self._connected = False
