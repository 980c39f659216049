"""From claims and members to the wanted table: the incremental merger.

Decides what needs to see several services or backends at once: who owns a
virtual server that two services claim, and what a real server is at which
several backends meet. It answers with wanted virtual and real servers, one by
one, only for what is concerned by a change.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clusterf.codec import Problem
from clusterf.keys import path_of
from clusterf.model import BackendKey, FrontendKey, Name
from clusterf.names import escape
from clusterf.resolve import (
    BackendResolved,
    Claim,
    Member,
    ProblemsOf,
    Resolved,
    ServiceResolved,
    conflict,
)
from clusterf.table import RealServer, RealServerSettings, VirtualServer

__all__ = ["MAX_WEIGHT", "Merged", "Merger", "RealServerWanted", "VirtualServerWanted"]

MAX_WEIGHT = 65535
"""The kernel takes more, but ipvsadm does not."""

_MAX_THRESHOLD = 0xFFFFFFFF


class VirtualServerWanted(NamedTuple):
    """The virtual server is wanted so; claim None: it is not wanted, nor are its real servers."""

    virtual: VirtualServer
    claim: Claim | None


class RealServerWanted(NamedTuple):
    """The real server is wanted so in a wanted virtual server; settings None: it is not wanted."""

    virtual: VirtualServer
    real: RealServer
    settings: RealServerSettings | None


Merged = VirtualServerWanted | RealServerWanted | ProblemsOf

# The backends that meet at each real server: nearly always one, for which a set would be dear.
_Groups = dict[RealServer, Name | set[Name]]
_Members = tuple[tuple[VirtualServer, Member], ...]


class Merger:
    """Merge what was resolved; `flush` tells what the table should be."""

    def __init__(self, *, elide: bool = False) -> None:
        self._elide = elide
        self._claims: dict[VirtualServer, dict[Name, Claim]] = {}
        self._claimed_by: dict[Name, tuple[VirtualServer, ...]] = {}
        self._members: dict[tuple[Name, Name], _Members] = {}
        self._groups: dict[tuple[VirtualServer, Name], _Groups] = {}
        # the service behind each virtual server that was wanted at the last flush
        self._owners: dict[VirtualServer, Name] = {}
        # what has changed since the last flush; dictionaries, as these keep the order
        self._dirty_virtuals: dict[VirtualServer, None] = {}
        self._dirty_reals: dict[tuple[VirtualServer, RealServer], None] = {}
        self._problems: list[ProblemsOf] = []
        # our own problems at the last flush, by subject
        self._conflicts: dict[object, tuple[Problem, ...]] = {}

    def update(self, item: Resolved) -> None:
        """Take `item` for what is so now."""
        match item:
            case ServiceResolved():
                self._update_service(item.service, dict(item.claims))
            case BackendResolved():
                self._update_backend(item.service, item.backend, item.members)
            case ProblemsOf():
                self._problems.append(item)

    def flush(self) -> Iterator[Merged]:
        """Yield what is wanted of all that changed since the last flush, a virtual server before its real servers."""
        yield from self._problems
        for virtual in self._dirty_virtuals:
            yield from self._merge_virtual(virtual)
        for virtual, real in self._dirty_reals:
            yield from self._merge_real(virtual, real)
        self._problems, self._dirty_virtuals, self._dirty_reals = [], {}, {}

    def _update_service(self, service: Name, claims: dict[VirtualServer, Claim]) -> None:
        for virtual in self._claimed_by.pop(service, ()):
            rivals = self._claims[virtual]
            del rivals[service]
            if not rivals:
                del self._claims[virtual]
            self._dirty_virtuals[virtual] = None
        for virtual, claim in claims.items():
            self._claims.setdefault(virtual, {})[service] = claim
            self._dirty_virtuals[virtual] = None
        if claims:
            self._claimed_by[service] = tuple(claims)

    def _update_backend(self, service: Name, backend: Name, members: _Members) -> None:
        if self._members.get((service, backend), ()) == members:
            return
        for virtual, member in self._members.pop((service, backend), ()):
            self._leave(virtual, service, backend, member.real)
        for virtual, member in members:
            self._join(virtual, service, backend, member.real)
        if members:
            self._members[service, backend] = members

    def _leave(self, virtual: VirtualServer, service: Name, backend: Name, real: RealServer) -> None:
        groups = self._groups[virtual, service]
        present = groups[real]
        if isinstance(present, set) and present != {backend}:
            present.discard(backend)
        else:
            del groups[real]
        if not groups:
            del self._groups[virtual, service]
        self._touch(virtual, service, real)

    def _join(self, virtual: VirtualServer, service: Name, backend: Name, real: RealServer) -> None:
        groups = self._groups.setdefault((virtual, service), {})
        present = groups.get(real)
        if present is None:
            groups[real] = backend
        elif isinstance(present, set):
            present.add(backend)
        else:
            groups[real] = {present, backend}
        self._touch(virtual, service, real)

    def _touch(self, virtual: VirtualServer, service: Name, real: RealServer) -> None:
        if self._elide:
            self._dirty_virtuals[virtual] = None
        if self._owners.get(virtual) == service:
            self._dirty_reals[virtual, real] = None

    def _merge_virtual(self, virtual: VirtualServer) -> Iterator[Merged]:
        rivals = self._claims.get(virtual, {})
        owner = min(rivals, default=None)
        losers = sorted(service for service in rivals if service != owner)
        yield from self._report(
            virtual,
            tuple(
                conflict(path_of(FrontendKey(loser)), f"{virtual} belongs to service {escape(owner or b'')}")
                for loser in losers
            ),
        )
        if owner is not None and self._elide and (virtual, owner) not in self._groups:
            owner = None
        before = self._owners.get(virtual)
        if owner is not None:
            self._owners[virtual] = owner
            yield VirtualServerWanted(virtual, rivals[owner])
        elif before is not None:
            del self._owners[virtual]
            yield VirtualServerWanted(virtual, None)
        if owner != before:
            for service in (before, owner):
                for real in self._groups.get((virtual, service), ()) if service is not None else ():
                    self._dirty_reals[virtual, real] = None

    def _merge_real(self, virtual: VirtualServer, real: RealServer) -> Iterator[Merged]:
        owner = self._owners.get(virtual)
        if owner is None:
            yield from self._report((virtual, real), ())
            return
        group = self._groups.get((virtual, owner), {}).get(real, set())
        names = sorted(group) if isinstance(group, set) else [group]
        members = [self._member(owner, name, virtual) for name in names]
        odd = [name for name, member in zip(names, members, strict=True) if member.method is not members[0].method]
        yield from self._report(
            (virtual, real),
            tuple(
                conflict(
                    path_of(BackendKey(owner, name)),
                    f"its method does not count: {real} has that of backend {escape(names[0])}",
                )
                for name in odd
            ),
        )
        yield RealServerWanted(virtual, real, merged(members) if members else None)

    def _member(self, service: Name, backend: Name, virtual: VirtualServer) -> Member:
        return next(member for at, member in self._members[service, backend] if at == virtual)

    def _report(self, subject: object, problems: tuple[Problem, ...]) -> Iterator[ProblemsOf]:
        if self._conflicts.get(subject, ()) == problems:
            return
        if problems:
            self._conflicts[subject] = problems
        else:
            del self._conflicts[subject]
        yield ProblemsOf(subject, problems)


def merged(members: Sequence[Member]) -> RealServerSettings:
    """Return what a real server is at which `members` meet, the lowest backend name first.

    The weights add up, at most to `MAX_WEIGHT`. So do the thresholds of each
    kind, and if one member has none there is none. The method is the first one's.
    """
    first = members[0]
    if len(members) == 1:
        return RealServerSettings(first.method, first.weight, first.upper, first.lower)
    weight = min(sum(member.weight for member in members), MAX_WEIGHT)
    upper = _threshold([member.upper for member in members])
    lower = _threshold([member.lower for member in members])
    return RealServerSettings(first.method, weight, upper, lower if upper else 0)


def _threshold(values: Sequence[int]) -> int:
    return min(sum(values), _MAX_THRESHOLD) if all(values) else 0
