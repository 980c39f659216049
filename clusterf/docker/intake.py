"""From the events and answers of an engine to its inventory.

What cannot be read changes nothing: it is logged once, and the last known
state stays.
"""

import logging
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from clusterf.docker.containers import PREFIX, Container, Network, container_of, convert, network_of
from clusterf.docker.engine import LONGEST_REASON, EngineError, Refused
from clusterf.docker.inventory import Inspection, Inventory
from clusterf.docker.publications import Changes
from clusterf.lib.log_once import LogOnce
from clusterf.lib.text import printable

__all__ = ["Intake", "OnChanges"]

log = logging.getLogger(__name__)

OnChanges = Callable[[Changes, bool], None]
"""Takes what changed, and whether the inventory then holds all that the engine has."""


class _Id(msgspec.Struct, rename="pascal"):
    id: str


class _Summary(_Id):
    labels: dict[str, str] | None = None


class Intake:
    """Feeds events and answers of the engine `name` into `inventory`, and passes the changes to `on_changes`.

    `last_event` is the time of the latest event by the engine's clock, in
    Unix nanoseconds; 0: there was none.
    """

    def __init__(self, name: str, inventory: Inventory, on_changes: OnChanges) -> None:
        self._name = name
        self._inventory = inventory
        self._on_changes = on_changes
        self.last_event = 0
        # whether there was a list that is complete, but for what could not be read
        self.completed = False
        # containers and networks, by id, that could not be read when last inspected
        self._unreadable = LogOnce(log)

    @property
    def wait(self) -> float:
        """The seconds until `looks` returns something, at least 0; infinite: nothing is known to be due."""
        return self._inventory.wait

    def looks(self) -> list[Inspection]:
        """Return the inspections that are due by now."""
        return self._inventory.looks()

    def event(self, line: bytes, *, live: bool = False) -> Inspection | None:
        """Take in an event, `live`: that has just happened; return the inspection that it calls for."""
        try:
            raw = msgspec.json.decode(line)
            inspection = self._inventory.event(raw, live=live)
        except (ValueError, RecursionError, msgspec.DecodeError) as error:
            log.warning("docker: %s: invalid event: %s (ignored)", self._name, printable(str(error), LONGEST_REASON))
            return None
        # (the engine's clock may have been set back: the last one counts, not the greatest)
        self.last_event = raw.get("timeNano", 0) or self.last_event
        return inspection

    def listed(self, containers: list[Any], networks: list[Any]) -> tuple[set[str], list[Inspection]]:
        """Take in a list of all containers and networks; return their ids, and the inspections that it calls for.

        Networks come as a whole, containers in short: those with labels of
        ours have to be inspected. Raises EngineError if this is no list of them.
        """
        try:
            summaries = convert(containers, list[_Summary])
            ids = [network.id for network in convert(networks, list[_Id])]
        except ValueError as error:
            raise EngineError(str(error)) from None
        for network_id, raw in zip(ids, networks, strict=True):
            self._inspected(network_id, network_of, raw)
        inspections = []
        for summary in summaries:
            if any(label.startswith(PREFIX) for label in summary.labels or ()):
                inspections.append(Inspection("container", summary.id))
            else:
                self._inventory.inspected(Container(summary.id, "", {}))
        return {*ids, *(summary.id for summary in summaries)}, inspections

    def inspected(self, inspection: Inspection, answer: Any, error: EngineError | None) -> None:
        """Take in the answer to an inspection; None: the engine has no such id.

        Raises `error` unless it concerns this container or network only.
        """
        if isinstance(error, Refused):
            self._cannot_read(inspection.id, str(error))
        elif error is not None:
            raise error
        elif answer is None:
            self._inventory.vanished(inspection.id)
        else:
            self._inspected(inspection.id, container_of if inspection.kind == "container" else network_of, answer)

    def list_completed(self, present: Collection[str]) -> bool:
        """Forget what is not in `present`, and report; return whether all that is present could be read."""
        self._inventory.listed([], [], present)
        self.completed = True
        self._unreadable.retain(present)
        self.report(complete=not self._unreadable)
        return not self._unreadable

    def report(self, *, complete: bool = False) -> None:
        """Pass on what changed since the last time, if anything did; `complete`: in any case."""
        changes = self._inventory.flush()
        if complete or any(changes):
            self._on_changes(changes, complete)

    def _inspected(self, object_id: str, parse: Callable[[Any], Container | Network], answer: Any) -> None:
        try:
            self._inventory.inspected(parse(answer))
        except ValueError as error:
            self._cannot_read(object_id, str(error))
        else:
            self._unreadable.end(object_id)

    def _cannot_read(self, object_id: str, reason: str) -> None:
        line = "docker: %s: unreadable: %s (keeping its last known state)"
        self._unreadable.log(object_id, line, printable(object_id[:12]), printable(reason, LONGEST_REASON))
