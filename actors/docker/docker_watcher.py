"""DockerWatcher: what a Docker engine's containers and networks make, told to a publisher."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import pykka

from actors.base.threaded_actor import ThreadedActor
from actors.docker.key_publisher import Publish, PublishOnly
from clusterf.config.problems import Problem
from clusterf.docker.engine import Engine
from clusterf.docker.follower import EngineFollower
from clusterf.docker.inventory import Changes, Inventory
from clusterf.docker.record import ContainerRecord, decode_record, encode_record
from clusterf.lib.store import Store
from clusterf.lib.text import escape

__all__ = ["DockerWatcher"]

log = logging.getLogger(__name__)

MARKS: Final = "marks"  # the section of the store


class DockerWatcher(ThreadedActor):
    """Tell `publisher` the keys that an engine's containers and networks make, at first all of them at once.

    `connect` makes connections to the engine, which `name` is the name of.
    `fleet` makes a fleet that remembers such marks; they are kept in the store
    that `store` opens. Everything is listed about every `interval` seconds.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Engine],
        fleet: Callable[[dict[str, ContainerRecord]], Inventory],
        store: Callable[[], Store],
        interval: float,
        publisher: pykka.ActorRef[Any],
    ) -> None:
        super().__init__(f"docker {name}")
        self._name = name
        self._connect = connect
        self._make_fleet = fleet
        self._open_store = store
        self._interval = interval
        self._publisher = publisher
        # whether the publisher knows all that there is to be
        self._told = False
        # what was wrong when it was last spoken of, by what it was wrong with
        self._problems: dict[str, tuple[Problem, ...]] = {}

    def on_start(self) -> None:
        """Begin to follow the engine."""
        self._store = self._open_store()
        self._fleet = self._make_fleet(dict(_remembered(self._store)))
        self._follower = EngineFollower(self._name, self._connect, self._fleet, self._interval, self._say)
        super().on_start()

    def work(self) -> None:
        """Follow the engine."""
        self._follower.run()

    def stop_work(self) -> None:
        """Stop following it."""
        self._follower.stop()

    def reload(self) -> None:
        """List everything again."""
        self._follower.again()

    def _say(self, changes: Changes, whole: bool) -> None:
        """Remember and publish what changed; in the thread of the follower."""
        if changes.marks:
            self._store.update(
                MARKS, {one.encode(): encode_record(mark) if mark else None for one, mark in changes.marks.items()}
            )
        for one, problems in changes.problems.items():
            self._speak_of(one, problems)
        for path, value in (changes.keys | changes.checks).items():
            log.info("docker: %s %s", escape(path), f"is {escape(value)}" if value is not None else "is no more")
        if whole and not self._told:
            self._told = True
            self._publisher.tell(PublishOnly(dict(self._fleet.wanted), dict(self._fleet.wanted_checks)))
            return
        self._publish(changes)

    def _publish(self, changes: Changes) -> None:
        """Tell what changed; a check comes before the first backend that it is for, and goes after the last.

        A backend that came first would count until the check has failed.
        """
        checks = {path: value for path, value in changes.checks.items() if value is not None}
        for path, check in checks.items():
            self._publisher.tell(Publish(path, check, if_absent=True))
        for path, value in changes.keys.items():
            self._publisher.tell(Publish(path, value))
        for path in changes.checks.keys() - checks.keys():
            self._publisher.tell(Publish(path, None, if_absent=True))

    def _speak_of(self, one: str, problems: tuple[Problem, ...]) -> None:
        known = self._problems.pop(one, ())
        if problems:
            self._problems[one] = problems
        for problem in problems:
            if problem not in known:
                log.warning("%s%s", problem, "" if problem.fatal else " (ignored)")


def _remembered(store: Store) -> Iterator[tuple[str, ContainerRecord]]:
    for one, raw in store.items(MARKS):
        try:
            yield one.decode(), decode_record(raw)
        except ValueError as error:
            log.error("docker: what is remembered of %s is no good: %s", escape(one), error)
