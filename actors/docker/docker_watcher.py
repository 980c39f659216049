"""DockerWatcher: what a Docker engine's containers and networks publish, for a publisher."""

import logging
from collections.abc import Callable
from typing import Any

import pykka

from actors.base.messages import Crashed
from actors.base.threaded_actor import ThreadedActor
from actors.docker.key_publisher import EngineIs, Found, TellFound
from actors.docker.publishing import Publishing
from actors.docker.record_keeper import NOBODY, Owner, RecordKeeper
from clusterf.config.problems import Problem
from clusterf.docker.engine import Engine
from clusterf.docker.follower import EngineFollower, Hooks
from clusterf.docker.inventory import Inventory
from clusterf.docker.publications import Changes
from clusterf.docker.record import ContainerRecord
from clusterf.lib.store import Store
from clusterf.lib.text import escape

__all__ = ["DockerWatcher"]

log = logging.getLogger(__name__)


class DockerWatcher(ThreadedActor):
    """Follow an engine, and send `publisher` the keys of its containers and networks: first all of them, then changes.

    `connect` opens connections to the engine, `name` is its name in the log.
    `inventory` makes an inventory from the records of the last one, which are
    stored in what `store` opens. Everything is listed about every `interval`
    seconds.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Engine],
        inventory: Callable[[dict[str, ContainerRecord]], Inventory],
        store: Callable[[], Store],
        interval: float,
        publisher: pykka.ActorRef[Any],
        owner: Owner = NOBODY,
    ) -> None:
        super().__init__(f"docker {name}")
        self._name = name
        self._connect = connect
        self._make_inventory = inventory
        self._open_store = store
        self._interval = interval
        self._publisher = publisher
        self._owner = owner
        # the problems of each container and network that were logged last
        self._problems: dict[str, tuple[Problem, ...]] = {}

    def on_start(self) -> None:
        """Begin to follow the engine."""
        self._records = RecordKeeper(self._open_store(), lambda error: self._tell_alive(Crashed(error)), self._owner)
        self._inventory = self._make_inventory(self._records.read())
        self._publishing = Publishing(
            self._publisher.tell, lambda: self._inventory.keys, recorded=self._records.published()
        )
        self._follower = EngineFollower(
            *(self._name, self._connect, self._inventory, self._interval, self._on_changes),
            Hooks(self._on_engine, self._on_failure, self._publishing.found),
        )
        self._records.start()
        self._publisher.tell(TellFound(self.actor_ref))
        super().on_start()

    def on_stop(self) -> None:
        """Stop following the engine, and keep the last records."""
        super().on_stop()
        self._records.close()

    def receive(self, message: Any) -> None:
        """Take in what an earlier node has published."""
        match message:
            case Found(keys):
                self._follower.found(keys)
            case _:
                super().receive(message)

    def work(self) -> None:
        """Follow the engine."""
        self._follower.run()

    def stop_work(self) -> None:
        """Stop following it."""
        self._follower.stop()

    def reload(self) -> None:
        """List everything again."""
        self._follower.relist()

    def _on_changes(self, changes: Changes, complete: bool) -> None:
        """Publish, log and record what changed, in this order; in the worker thread."""
        self._publishing.changed(changes, complete=complete)
        for subject, problems in changes.problems.items():
            self._log_problems(subject, problems)
        for path, value in changes.keys.items():
            log.info("docker: %s %s", escape(path), f"set to {escape(value)}" if value is not None else "removed")
        if changes.records or changes.keys or complete:
            published = self._inventory.keys if complete else changes.keys
            self._records.put(changes.records, complete=complete, published=published)

    def _on_engine(self, engine: str) -> None:
        """Say whose keys these are, and forget what is on record of another engine; in the worker thread."""
        if self._records.identify(engine):
            log.warning("docker: %s: the records of containers are of another engine (ignored)", self._name)
            self._inventory.disown()
        self._publisher.tell(EngineIs(engine))

    def _on_failure(self) -> None:
        """Publish what is on record, if the engine has not answered yet; in the worker thread."""
        if recorded := self._publishing.engine_is_away():
            what = "docker: %s: publishing %d keys as they are on record, until the engine answers"
            log.warning(what, self._name, len(recorded))

    def _log_problems(self, subject: str, problems: tuple[Problem, ...]) -> None:
        """Log those problems of a subject that are new."""
        known = self._problems.pop(subject, ())
        if problems:
            self._problems[subject] = problems
        for problem in problems:
            if problem not in known:
                log.warning("%s%s", problem, "" if problem.fatal or problem.note else " (ignored)")
