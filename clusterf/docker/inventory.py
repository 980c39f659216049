"""All containers and networks of one engine, and the keys that they make.

Level-triggered: what counts is what the engine says that a container *is*, by
an inspect or a list. Events mostly tell what to look at again, so that one
that is late, repeated or lost does no harm. Two things are taken from them at
once. A container that is removed is gone, and as ids do not come back, nothing
that was asked earlier brings it back. And one that is told to stop, by its
stop signal, SIGTERM or SIGKILL, or that has died, takes no new connections
from then on. No inspect would tell that it was told; so it is remembered, and
holds for that run of the container and no other.
"""

from collections.abc import Collection, Iterable, Mapping
from signal import SIGKILL
from typing import Any, Final, Literal, NamedTuple

from clusterf.config.problems import Problem
from clusterf.docker.addresses import Addressing
from clusterf.docker.check_offers import CheckOffers
from clusterf.docker.containers import Container, Network
from clusterf.docker.events import Event, event_of
from clusterf.docker.labels import SOURCE
from clusterf.docker.publication import NOTHING, Publication, place_of, what_container_makes, what_network_makes
from clusterf.docker.record import ContainerRecord
from clusterf.docker.routes import Routing
from clusterf.docker.stops import StopTracker, ended
from clusterf.lib.mapping import put

__all__ = ["Changes", "Inspection", "Inventory"]

# the actions that may change what a container makes
_CHANGING: Final = frozenset({"start", "kill", "die", "stop", "oom", "pause", "unpause", "health_status", "rename"})
_UNMARKED: Final = ContainerRecord()


class Inspection(NamedTuple):
    """What is to be inspected again."""

    kind: Literal["container", "network"]
    id: str


class Changes(NamedTuple):
    """What became of that which changed since the last time; None: it is no more.

    `keys` are JSON by path below the prefix. `checks` are, too, but each is
    only for where nobody else has such a key. `problems` are by id of a
    container or a network, or by path of a check; none: all is well now.
    `marks`, by id of a container, are to be kept across restarts.
    """

    keys: dict[bytes, bytes | None]
    checks: dict[bytes, bytes | None]
    problems: dict[str, tuple[Problem, ...]]
    marks: dict[str, ContainerRecord | None]


class Inventory:
    """The containers and networks of an engine; `flush` tells what became of their keys.

    `marks` are what an earlier one told to remember.
    """

    def __init__(
        self,
        addressing: Addressing = Addressing(),  # noqa: B008
        routing: Routing = Routing(),  # noqa: B008
        marks: Mapping[str, ContainerRecord] | None = None,
    ) -> None:
        self._addressing = addressing
        self._routing = routing
        self._containers: dict[str, Container] = {}
        self._networks: dict[str, Network] = {}
        self._marks = dict(marks or {})
        self._endings = StopTracker()
        # containers that are gone for good, for as long as a list may still have them
        self._gone: set[str] = set()
        # what has changed since it was last told
        self._dirty: dict[str, None] = {}
        self._dirty_marks: dict[str, None] = {}
        # as it was last told
        self._made: dict[str, Publication] = {}
        self._offers = CheckOffers()
        self._contested: dict[bytes, tuple[Problem, ...]] = {}
        self._wanted: dict[bytes, bytes] = {}
        self._wanted_checks: dict[bytes, bytes] = {}

    @property
    def wanted(self) -> Mapping[bytes, bytes]:
        """All keys that there are to be, as `flush` has told them."""
        return self._wanted

    @property
    def wanted_checks(self) -> Mapping[bytes, bytes]:
        """All checks that there are to be where nobody else has one, as `flush` has told them."""
        return self._wanted_checks

    @property
    def marks(self) -> Mapping[str, ContainerRecord]:
        """All that is to be remembered, by container."""
        return self._marks

    def listed(
        self, containers: Iterable[Container], networks: Iterable[Network], unread: Collection[str] = ()
    ) -> None:
        """Take these for all that there is.

        `unread` are the ids of what is there too, but could not be
        understood: of these stays what is known.
        """
        now: list[Container | Network] = [*containers, *networks]
        there = {thing.id for thing in now} | set(unread)
        for one in {*self._containers, *self._networks, *self._marks} - there:
            self._forget(one)
        self._gone &= there
        self._dirty |= dict.fromkeys(self._endings.listed(there))
        for thing in now:
            self.inspected(thing)

    def inspected(self, thing: Container | Network) -> None:
        """Take it that this is what a container or a network is now."""
        if isinstance(thing, Network):
            if put(self._networks, thing.id, thing):
                self._dirty[thing.id] = None
        elif thing.id not in self._gone:
            signals = self._endings.looked(thing.id)
            if put(self._containers, thing.id, thing) or signals:
                self._dirty[thing.id] = None
                self._note(thing, signals)

    def vanished(self, one: str) -> None:
        """Take it that there is no container and no network with this id."""
        self._gone.add(one)
        self._forget(one)

    def event(self, raw: Mapping[str, Any]) -> Inspection | None:
        """Take in an event as the engine tells it; return what has to be looked at for it.

        Raises ValueError with the reason why it is no event.
        """
        event = event_of(raw)
        match event.type, event.action:
            case "container", "destroy":
                self.vanished(event.id)
            case "container", action if action in _CHANGING and self._matters(event.id):
                return self._container_event(event)
            case "network", "connect" | "disconnect" if self._matters(event.container):
                return Inspection("container", event.container)
            case "network", "create" | "update":
                return Inspection("network", event.id)
            case "network", "destroy" | "remove":
                self._forget(event.id)
        return None

    def flush(self) -> Changes:
        """Return what became of all that has changed since the last time."""
        changes = Changes({}, {}, {}, {one: self._marks.get(one) for one in self._dirty_marks})
        offered: dict[bytes, None] = {}
        for one in self._dirty:
            offered |= dict.fromkeys(self._settle(one, changes))
        for path in offered:
            self._settle_check(path, changes)
        self._dirty.clear()
        self._dirty_marks.clear()
        return changes

    def _settle(self, one: str, changes: Changes) -> Iterable[bytes]:
        """Tell what became of what a container or a network makes; return the checks that this is about."""
        before = self._made.pop(one, NOTHING)
        if (made := self._make(one)) != NOTHING:
            self._made[one] = made
        for path in before.keys | made.keys:
            value = made.keys.get(path)
            if put(self._wanted, path, value):
                changes.keys[path] = value
        if before.problems != made.problems:
            changes.problems[one] = made.problems
        return self._offers.replace(one, made.checks) if before.checks != made.checks else ()

    def _settle_check(self, path: bytes, changes: Changes) -> None:
        best = self._offers.best(path)
        value = best.value if best is not None else None
        if put(self._wanted_checks, path, value):
            changes.checks[path] = value
        problems: tuple[Problem, ...] = ()
        if best is not None and not self._offers.agree(path):
            reason = f"containers ask for different checks; the one started last counts, {best.by[:12]}"
            problems = (Problem(SOURCE, path, "", reason, fatal=False),)
        if put(self._contested, path, problems or None):
            changes.problems[path.decode()] = problems

    def _make(self, one: str) -> Publication:
        if (container := self._containers.get(one)) is not None:
            mark = self._marks.get(one, _UNMARKED)
            ends = mark.ended == container.started_at or self._endings.expected(container)
            return what_container_makes(container, self._addressing, mark.place, ends=ends)
        if (network := self._networks.get(one)) is not None:
            return what_network_makes(network, self._routing)
        return NOTHING

    def _matters(self, one: str) -> bool:
        """Tell whether it can make a difference what a container does."""
        known = self._containers.get(one)
        return bool(one) and one not in self._gone and (known is None or bool(known.labels))

    def _container_event(self, event: Event) -> Inspection | None:
        known = self._containers.get(event.id)
        match event.action:
            case "start":
                self._endings.started(event.id)
            case "oom" if known is not None:
                self._endings.oom(known, event.time)
                self._dirty[event.id] = None
            case "die":
                self._signal(event, known, int(SIGKILL))  # from now on it is the same
            case "kill":
                return None if self._signal(event, known, event.signal) else Inspection("container", event.id)
        return Inspection("container", event.id)

    def _signal(self, event: Event, known: Container | None, signal: int) -> bool:
        """Take it that a container had a signal; return whether it is known what this means."""
        if known is None or self._endings.unsettled(event.id):
            self._endings.wait(event.id, signal, event.time)
            self._dirty[event.id] = None
            return False
        self._note(known, {signal: event.time})
        return True

    def _note(self, container: Container, signals: Mapping[int, int]) -> None:
        """Remember of a container what nobody will tell again: these signals, with their times, and its place."""
        if not container.labels:
            return
        mark = self._marks.get(container.id, _UNMARKED)
        place = place_of(container, self._addressing, mark.place)
        mark = ContainerRecord(container.started_at if ended(container, signals) else mark.ended, place)
        if put(self._marks, container.id, mark if mark != _UNMARKED else None):
            self._dirty[container.id] = self._dirty_marks[container.id] = None

    def _forget(self, one: str) -> None:
        self._containers.pop(one, None)
        self._networks.pop(one, None)
        self._endings.forget(one)
        self._dirty[one] = None
        if put(self._marks, one, None):
            self._dirty_marks[one] = None
