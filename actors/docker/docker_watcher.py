"""DockerWatcher: what a Docker engine's containers and networks publish, for a publisher."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import pykka

from actors.base.messages import KeepState
from actors.base.threaded_actor import ThreadedActor
from actors.docker.key_publisher import Publish, PublishOnly
from clusterf.config.problems import Problem
from clusterf.docker.engine import Engine
from clusterf.docker.follower import EngineFollower
from clusterf.docker.inventory import Inventory
from clusterf.docker.publications import Changes
from clusterf.docker.record import ContainerRecord, decode_record, encode_record
from clusterf.lib.store import KEEP_INTERVAL, Store
from clusterf.lib.text import escape

__all__ = ["DockerWatcher"]

log = logging.getLogger(__name__)

RECORDS: Final = "marks"  # the section of the store, named as by earlier versions


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
    ) -> None:
        super().__init__(f"docker {name}")
        self._name = name
        self._connect = connect
        self._make_inventory = inventory
        self._open_store = store
        self._interval = interval
        self._publisher = publisher
        # the publisher has the complete set of keys
        self._published = False
        # the problems of each container and network that were logged last
        self._problems: dict[str, tuple[Problem, ...]] = {}

    def on_start(self) -> None:
        """Begin to follow the engine."""
        self._store = self._open_store()
        self._inventory = self._make_inventory(dict(_stored_records(self._store)))
        self._follower = EngineFollower(self._name, self._connect, self._inventory, self._interval, self._on_changes)
        self.tell_later(KEEP_INTERVAL, KeepState())
        super().on_start()

    def on_stop(self) -> None:
        """Stop following the engine, and close the store."""
        super().on_stop()
        self._store.close()

    def receive(self, message: Any) -> None:
        """Keep the store."""
        match message:
            case KeepState():
                self._store.keep()
                self.tell_later(KEEP_INTERVAL, KeepState())
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
        """Store, log and publish what changed; in the worker thread."""
        if changes.records:
            encoded = {one.encode(): encode_record(rec) if rec else None for one, rec in changes.records.items()}
            self._store.update(RECORDS, encoded)
        for subject, problems in changes.problems.items():
            self._log_problems(subject, problems)
        for path, value in changes.keys.items():
            log.info("docker: %s %s", escape(path), f"set to {escape(value)}" if value is not None else "removed")
        if complete:
            self._store.renew()
        if complete and not self._published:
            self._published = True
            self._publisher.tell(PublishOnly(dict(self._inventory.keys)))
            return
        for path, value in changes.keys.items():
            self._publisher.tell(Publish(path, value))

    def _log_problems(self, subject: str, problems: tuple[Problem, ...]) -> None:
        """Log those problems of a subject that are new."""
        known = self._problems.pop(subject, ())
        if problems:
            self._problems[subject] = problems
        for problem in problems:
            if problem not in known:
                log.warning("%s%s", problem, "" if problem.fatal or problem.note else " (ignored)")


def _stored_records(store: Store) -> Iterator[tuple[str, ContainerRecord]]:
    for container_id, raw in store.items(RECORDS):
        try:
            yield container_id.decode(), decode_record(raw)
        except ValueError as error:
            log.error("docker: invalid stored record of %s: %s (ignored)", escape(container_id), error)
