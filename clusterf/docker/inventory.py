"""All containers and networks of one engine, and what they publish.

Level-triggered: what counts is the state of a container, from an inspection or
a list. Events mostly say what to inspect again, so one that is late, repeated
or lost does no harm. Two are acted on at once. A container that is removed is
gone, and as ids do not come back, no earlier answer restores it. And a
container that is signalled to stop, by its stop signal, SIGTERM or SIGKILL, or
that has died, takes no new connections from then on. No inspection would show
the signal, so it is recorded, for that run of the container only, and until the
engine should have killed it (see `stops`).

An event that has just happened is about the run that its container is in, whatever
the clocks say, which may be set back meanwhile. Only events of the past, which are
caught up with after a reconnection, are compared with the time at which the run began.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from signal import SIGKILL
from typing import Any, Final, Literal, NamedTuple

from msgspec.structs import replace

from clusterf.docker.addresses import Addressing, ContainerAddress, address_at
from clusterf.docker.containers import Container, Network
from clusterf.docker.events import EngineEvent, event_of
from clusterf.docker.labels import NO_RULES, LabelRules
from clusterf.docker.publication import (
    NOTHING,
    Publication,
    addresses_of,
    container_address,
    container_publication,
    network_publication,
)
from clusterf.docker.publications import Changes, Publications
from clusterf.docker.record import ContainerRecord
from clusterf.docker.routes import Routing
from clusterf.docker.stops import LIVE, STOP_SECONDS, StopTracker, was_stopped
from clusterf.lib.mapping import put
from clusterf.lib.text import printable

__all__ = ["Inspection", "Inventory"]

log = logging.getLogger(__name__)

# the actions that may change what a container publishes
_CHANGING: Final = frozenset({"start", "kill", "die", "stop", "oom", "pause", "unpause", "health_status", "rename"})
_NO_RECORD: Final = ContainerRecord()


class Inspection(NamedTuple):
    """A container or a network that is to be inspected."""

    kind: Literal["container", "network"]
    id: str


class Inventory:
    """The containers and networks of an engine; `flush` returns what changed of what they publish.

    `records` are those of an earlier inventory, as stored. `publisher` is the name of
    this node, which every backend carries; None: none does. `rules`: what labels may ask for.
    `stop_seconds`: the limit of containers that have none of their own; `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        addressing: Addressing = Addressing(),  # noqa: B008
        routing: Routing = Routing(),  # noqa: B008
        records: Mapping[str, ContainerRecord] | None = None,
        publisher: str | None = None,
        rules: LabelRules = NO_RULES,
        stop_seconds: int = STOP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = publisher
        self._rules = rules
        self._addressing = addressing
        self._routing = routing
        self._containers: dict[str, Container] = {}
        self._networks: dict[str, Network] = {}
        self._records = dict(records or {})
        # the addresses at which an earlier node has published containers, by id
        self._published: Mapping[str, set[str]] = {}
        self._stops = StopTracker(clock, stop_seconds)
        # removed containers, for as long as a list may still have them
        self._gone: set[str] = set()
        # changed since the last flush
        self._dirty: dict[str, None] = {}
        self._dirty_records: dict[str, None] = {}
        self._publications = Publications()

    @property
    def keys(self) -> Mapping[bytes, bytes]:
        """All keys to be published, as of the last flush."""
        return self._publications.keys

    @property
    def records(self) -> Mapping[str, ContainerRecord]:
        """The records to be stored, by container."""
        return self._records

    def listed(
        self, containers: Iterable[Container], networks: Iterable[Network], unread: Collection[str] = ()
    ) -> None:
        """Take these for all that there is.

        `unread` are the ids of what exists, too, but is not given here: its last known state stays.
        """
        listed: list[Container | Network] = [*containers, *networks]
        present = {each.id for each in listed} | set(unread)
        for object_id in {*self._containers, *self._networks, *self._records} - present:
            self._forget(object_id)
        self._gone &= present
        self._stops.listed(present)
        for each in listed:
            self.inspected(each)

    def inspected(self, found: Container | Network) -> None:
        """Take this for the present state of a container or a network."""
        if isinstance(found, Network):
            if put(self._networks, found.id, found):
                self._dirty[found.id] = None
        elif found.id not in self._gone:
            signals = self._stops.inspected(found.id)
            if put(self._containers, found.id, found) or signals:
                self._dirty[found.id] = None
                self._record(found, signals)
            self._settle(found)

    @property
    def wait(self) -> float:
        """The seconds until `looks` returns something, at least 0; infinite: nothing is known to be due."""
        return self._stops.wait()

    def looks(self) -> list[Inspection]:
        """Return the inspections that are due, once: of containers that may go on although they were to end."""
        return [Inspection("container", one) for one in self._stops.due()]

    def found(self, keys: Mapping[bytes, bytes]) -> None:
        """Take in what an earlier node has published, whose records may be lost."""
        self._published = addresses_of(keys)
        for container_id in self._published:
            if (container := self._containers.get(container_id)) is not None:
                self._record(container, {})

    def disown(self) -> None:
        """Drop the records: they are of containers of another engine."""
        self._dirty |= dict.fromkeys(self._records)
        self._dirty_records |= dict.fromkeys(self._records)
        self._records.clear()

    def vanished(self, object_id: str) -> None:
        """Drop a container or a network that the engine no longer has."""
        self._gone.add(object_id)
        self._forget(object_id)

    def event(self, raw: Mapping[str, Any], *, live: bool = False) -> Inspection | None:
        """Take in an event, as the engine's JSON; return the inspection that it calls for.

        `live`: it has just happened, after all that were taken in before.
        Raises ValueError with the reason why it is no event.
        """
        event = event_of(raw)
        if live:
            event = replace(event, time=LIVE)
        match event.type, event.action:
            case "container", "destroy":
                self.vanished(event.id)
            case "container", action if action in _CHANGING and self._is_relevant(event.id):
                return self._container_event(event)
            case "network", "connect" | "disconnect" if self._is_relevant(event.container):
                return Inspection("container", event.container)
            case "network", "create" | "update":
                return Inspection("network", event.id)
            case "network", "destroy" | "remove":
                self._forget(event.id)
        return None

    def flush(self) -> Changes:
        """Return what changed since the last flush."""
        records = {container_id: self._records.get(container_id) for container_id in self._dirty_records}
        changes = self._publications.update({one: self._publication(one) for one in self._dirty}, records)
        self._dirty.clear()
        self._dirty_records.clear()
        return changes

    def _publication(self, object_id: str) -> Publication:
        if (container := self._containers.get(object_id)) is not None:
            record = self._records.get(object_id, _NO_RECORD)
            stopping = record.stopped_run == container.started_at or self._stops.is_stopping(container)
            return container_publication(
                *(container, self._addressing, record.address),
                stopping=stopping,
                publisher=self._publisher,
                rules=self._rules,
            )
        if (network := self._networks.get(object_id)) is not None:
            return network_publication(network, self._routing)
        return NOTHING

    def _is_relevant(self, container_id: str) -> bool:
        """Tell whether events of a container may change anything."""
        known = self._containers.get(container_id)
        return bool(container_id) and container_id not in self._gone and (known is None or bool(known.labels))

    def _container_event(self, event: EngineEvent) -> Inspection | None:
        known = self._containers.get(event.id)
        match event.action:
            case "start":
                self._stops.started(event.id)
                if event.time == LIVE:
                    self._put_record(event.id, replace(self._records.get(event.id, _NO_RECORD), stopped_run=0))
            case "oom" if known is not None:
                self._stops.oom(known, event.time)
                self._dirty[event.id] = None
            case "die":
                self._signal(event, known, int(SIGKILL))  # it has the same effect from now on
            case "kill":
                return None if self._signal(event, known, event.signal) else Inspection("container", event.id)
        return Inspection("container", event.id)

    def _signal(self, event: EngineEvent, known: Container | None, signal: int) -> bool:
        """Record a signal to a container; return whether its run is known, so that no inspection is needed."""
        if known is None or self._stops.awaits_inspection(event.id):
            self._stops.defer(event.id, signal, event.time)
            self._dirty[event.id] = None
            return False
        self._record(known, {signal: event.time})
        return True

    def _record(self, container: Container, signals: Mapping[int, int]) -> None:
        """Record what the engine will not show again: the effect of these signals, and the container's address."""
        if not container.labels:
            return
        last = self._records.get(container.id, _NO_RECORD)
        stopped = was_stopped(container, signals, outlived=last.outlived_run == container.started_at)
        if stopped:
            self._stops.stopping(container, again=True)
        record = ContainerRecord(
            container.started_at if stopped else last.stopped_run,
            container_address(container, self._addressing, last.address or self._address_found(container)),
            last.outlived_run,
        )
        self._put_record(container.id, record)

    def _address_found(self, container: Container) -> ContainerAddress | None:
        """Return where an earlier node has published a container, if it still has that address."""
        published = self._published.get(container.id)
        return address_at(container, published) if published and not self._addressing.host else None

    def _settle(self, container: Container) -> None:
        """Have a container that was to end, and goes on when that is over, count as running again."""
        record = self._records.get(container.id, _NO_RECORD)
        asked = record.stopped_run == container.started_at
        if asked and container.running:
            self._stops.stopping(container, again=False)
        if not self._stops.outlived(container):
            return
        self._dirty[container.id] = None
        if asked and not self._stops.is_asked(container):
            name = printable(container.name or container.id[:12])
            log.warning("docker: %s goes on although it was signalled to stop: it has its weight again", name)
            self._put_record(container.id, replace(record, stopped_run=0, outlived_run=container.started_at))

    def _put_record(self, container_id: str, record: ContainerRecord) -> None:
        if put(self._records, container_id, record if record != _NO_RECORD else None):
            self._dirty[container_id] = self._dirty_records[container_id] = None

    def _forget(self, object_id: str) -> None:
        self._containers.pop(object_id, None)
        self._networks.pop(object_id, None)
        self._stops.forget(object_id)
        self._dirty[object_id] = None
        if put(self._records, object_id, None):
            self._dirty_records[object_id] = None
