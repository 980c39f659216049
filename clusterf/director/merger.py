"""From claims and members to the wanted table: the incremental merger.

Decides what needs to see several services or backends at once: who owns a
virtual server that two services claim, and what a real server is at which
several backends meet, of which only those count that stand. It answers with
wanted virtual and real servers, one by one, only for what is concerned by a
change.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from clusterf.config.keys import path_of
from clusterf.config.model import MAX_THRESHOLD, BackendKey, FrontendKey, Name
from clusterf.config.problems import Problem, ProblemsOf, conflict
from clusterf.director.resolver import BackendResolved, Resolved, ServiceResolved
from clusterf.director.rotation import Members, PanicMode, Rotation
from clusterf.ipvs.table import RealServer, RealServerSettings, VirtualServer, VirtualServerSpec
from clusterf.lib.text import escape

__all__ = ["MAX_WEIGHT", "Merged", "Merger", "RealServerWanted", "VirtualServerWanted"]

MAX_WEIGHT = 65535
"""The kernel takes more, but ipvsadm does not."""


class VirtualServerWanted(NamedTuple):
    """The virtual server is wanted so; claim None: it is not wanted, nor are its real servers."""

    virtual: VirtualServer
    claim: VirtualServerSpec | None


class RealServerWanted(NamedTuple):
    """The real server is wanted so in a wanted virtual server; settings None: it is not wanted."""

    virtual: VirtualServer
    real: RealServer
    settings: RealServerSettings | None


Merged = VirtualServerWanted | RealServerWanted | ProblemsOf

# The backends that meet at each real server: nearly always one, for which a set would be dear.
_Groups = dict[RealServer, Name | set[Name]]


class Merger:
    """Merge what was resolved; `flush` tells what the table should be.

    Without `standings` health is ignored.
    """

    def __init__(self, *, elide: bool = False, standings: Rotation | None = None) -> None:
        self._elide = elide
        self._standings = standings
        self._claims: dict[VirtualServer, dict[Name, VirtualServerSpec]] = {}
        self._claimed_by: dict[Name, tuple[VirtualServer, ...]] = {}
        self._members: dict[tuple[Name, Name], Members] = {}
        # the services of which real servers without a member that stands are left out
        self._removing: set[Name] = set()
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
                self._update_effect(item)
            case BackendResolved():
                self._update_backend(item.service, item.backend, item.members)
            case ProblemsOf():
                self._problems.append(item)

    def flush(self) -> Iterator[Merged | PanicMode]:
        """Yield what is wanted of all that changed since the last flush, a virtual server before its real servers."""
        yield from self._problems
        if self._standings is not None:
            yield from self._standings.judge()
            for (service, _, virtual), real in self._standings.settle(self._members):
                self._touch(virtual, service, real)
        for virtual in self._dirty_virtuals:
            yield from self._merge_virtual(virtual)
        for virtual, real in self._dirty_reals:
            yield from self._merge_real(virtual, real)
        self._problems, self._dirty_virtuals, self._dirty_reals = [], {}, {}

    def _update_service(self, service: Name, claims: dict[VirtualServer, VirtualServerSpec]) -> None:
        claimed = self._claimed_by.pop(service, ())
        if claims:
            self._claimed_by[service] = tuple(claims)
        for virtual in claimed:
            if virtual not in claims:
                rivals = self._claims[virtual]
                del rivals[service]
                if not rivals:
                    del self._claims[virtual]
                self._dirty_virtuals[virtual] = None
        for virtual, claim in claims.items():
            rivals = self._claims.setdefault(virtual, {})
            if rivals.get(service) != claim:
                rivals[service] = claim
                self._dirty_virtuals[virtual] = None

    def _update_effect(self, item: ServiceResolved) -> None:
        service, _, effect = item
        if self._standings is None:
            return
        self._standings.put_effect(service, effect)
        removes = effect is not None and effect.removes
        if removes == (service in self._removing):
            return
        self._removing ^= {service}
        for virtual in self._claimed_by.get(service, ()):
            for real, group in self._groups.get((virtual, service), {}).items():
                if not any(self._stands(service, name, virtual) for name in _names(group)):
                    self._touch(virtual, service, real)

    def _update_backend(self, service: Name, backend: Name, members: Members) -> None:
        before = self._members.pop((service, backend), ())
        if members:
            self._members[service, backend] = members
        if before == members:
            return
        if self._standings is not None:
            departing = [virtual for virtual, _ in before if self._departs(virtual, service)]
            self._standings.put_members(service, backend, before, members, departing)
        old, new = dict(before), dict(members)
        for virtual, member in before:
            if virtual not in new or new[virtual].real != member.real:
                self._leave(virtual, service, backend, member.real)
        for virtual, member in members:
            was = old.get(virtual)
            if was is None or was.real != member.real:
                self._join(virtual, service, backend, member.real)
            elif was.settings != member.settings:
                self._touch(virtual, service, member.real)

    def _departs(self, virtual: VirtualServer, service: Name) -> bool:
        """Tell whether the service no longer claims the virtual server, and is behind it as it is in force."""
        return self._owners.get(virtual) == service and virtual not in self._claimed_by.get(service, ())

    def _leave(self, virtual: VirtualServer, service: Name, backend: Name, real: RealServer) -> None:
        groups = self._groups[virtual, service]
        present = groups[real]
        if isinstance(present, set) and present != {backend}:
            present.discard(backend)
        else:
            del groups[real]
        if not groups:
            del self._groups[virtual, service]
            self._fill(virtual)
        self._touch(virtual, service, real)

    def _join(self, virtual: VirtualServer, service: Name, backend: Name, real: RealServer) -> None:
        if (virtual, service) not in self._groups:
            self._fill(virtual)
        groups = self._groups.setdefault((virtual, service), {})
        present = groups.get(real)
        if present is None:
            groups[real] = backend
        elif isinstance(present, set):
            present.add(backend)
        else:
            groups[real] = {present, backend}
        self._touch(virtual, service, real)

    def _fill(self, virtual: VirtualServer) -> None:
        """Take it that the virtual server was, or is to be, without backends: healthy or not is not asked."""
        if self._elide:
            self._dirty_virtuals[virtual] = None

    def _touch(self, virtual: VirtualServer, service: Name, real: RealServer) -> None:
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
            if self._standings is not None:
                # whoever is not back by now goes, or has gone
                self._standings.forget_departed(virtual)
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
        names = _names(self._groups.get((virtual, owner), {}).get(real))
        members = [self._member(owner, name, virtual) for name in names]
        odd = [(name, at_odds(member, members[0])) for name, member in zip(names, members, strict=True)]
        yield from self._report(
            (virtual, real),
            tuple(
                conflict(
                    path_of(BackendKey(owner, name)),
                    f"its {what} does not count: {real} has that of backend {escape(names[0])}",
                )
                for name, what in odd
                if what
            ),
        )
        standing = [self._stands(owner, name, virtual) for name in names]
        left_out = owner in self._removing and not any(standing)
        yield RealServerWanted(virtual, real, merged(members, standing) if members and not left_out else None)

    def _member(self, service: Name, backend: Name, virtual: VirtualServer) -> RealServerSettings:
        return next(member.settings for at, member in self._members[service, backend] if at == virtual)

    def _stands(self, service: Name, backend: Name, virtual: VirtualServer) -> bool:
        return self._standings is None or self._standings.stands(service, backend, virtual)

    def _report(self, subject: object, problems: tuple[Problem, ...]) -> Iterator[ProblemsOf]:
        if self._conflicts.get(subject, ()) == problems:
            return
        if problems:
            self._conflicts[subject] = problems
        else:
            del self._conflicts[subject]
        yield ProblemsOf(subject, problems)


def merged(members: Sequence[RealServerSettings], standing: Sequence[bool]) -> RealServerSettings:
    """Return what a real server is at which `members` meet, the lowest backend name first.

    Of those that are standing the weights add up, at most to `MAX_WEIGHT`. So
    do the thresholds of each kind, and if one of them has none there is none.
    If none is standing the weight is 0, and the thresholds are those of all.
    The method and the tunnel are the first one's, standing or not.
    """
    if len(members) == 1:
        return members[0] if standing[0] else msgspec.structs.replace(members[0], weight=0)
    counting = [member for member, stands in zip(members, standing, strict=True) if stands]
    weight = min(sum(member.weight for member in counting), MAX_WEIGHT)
    upper = _threshold([member.upper for member in counting or members])
    lower = _threshold([member.lower for member in counting or members])
    return RealServerSettings(members[0].method, weight, upper, lower if upper else 0, members[0].tunnel)


def at_odds(member: RealServerSettings, first: RealServerSettings) -> str:
    """Return what of `member` does not count beside `first`; empty if all does."""
    if member.method is not first.method:
        return "method"
    return "tunnel" if member.tunnel != first.tunnel else ""


def _names(group: Name | set[Name] | None) -> list[Name]:
    if group is None:
        return []
    return sorted(group) if isinstance(group, set) else [group]


def _threshold(values: Sequence[int]) -> int:
    return min(sum(values), MAX_THRESHOLD) if all(values) else 0
