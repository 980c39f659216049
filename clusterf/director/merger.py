"""From claims and members to the desired table: the incremental merger.

Decides what needs several services or backends at once: who owns a virtual
server that two services claim, and what a real server is at which several
backends meet, of which only those in rotation count. It answers with wanted
virtual and real servers, only for what a change concerns.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from clusterf.config.keys import path_of
from clusterf.config.model import MAX_THRESHOLD, BackendKey, FrontendKey, Name
from clusterf.config.problems import KnownProblems, Problem, ProblemsOf, conflict
from clusterf.director.groups import BackendGroups
from clusterf.director.resolver import BackendResolved, HealthPolicy, Resolved, ServiceResolved
from clusterf.director.rotation import Members, PanicMode, Rotation
from clusterf.ipvs.table import RealServer, RealServerSettings, VirtualServer, VirtualServerSpec
from clusterf.lib.text import escape

__all__ = ["MAX_WEIGHT", "Merged", "Merger", "RealServerWanted", "VirtualServerWanted"]

MAX_WEIGHT = 65535
"""The kernel accepts more, but ipvsadm does not."""


class VirtualServerWanted(NamedTuple):
    """The virtual server is wanted like this; claim None: neither it nor its real servers are wanted."""

    virtual: VirtualServer
    claim: VirtualServerSpec | None


class RealServerWanted(NamedTuple):
    """The real server is wanted like this in a wanted virtual server; settings None: it is not wanted."""

    virtual: VirtualServer
    real: RealServer
    settings: RealServerSettings | None


Merged = VirtualServerWanted | RealServerWanted | ProblemsOf


class Merger:
    """Merges what was resolved; `flush` returns what changes in the desired table.

    With `elide` a virtual server without backends is not wanted. Without
    `rotation` health is ignored.
    """

    def __init__(self, *, elide: bool = False, rotation: Rotation | None = None) -> None:
        self._elide = elide
        self._rotation = rotation
        self._claims: dict[VirtualServer, dict[Name, VirtualServerSpec]] = {}
        self._claimed_by: dict[Name, tuple[VirtualServer, ...]] = {}
        self._members: dict[tuple[Name, Name], Members] = {}
        self._groups = BackendGroups()
        # the services whose real servers without a member in rotation are removed, instead of drained
        self._removing: set[Name] = set()
        # the service that owned each wanted virtual server at the last flush
        self._owners: dict[VirtualServer, Name] = {}
        # what has changed since the last flush; dictionaries keep the order
        self._dirty_virtuals: dict[VirtualServer, None] = {}
        self._dirty_reals: dict[tuple[VirtualServer, RealServer], None] = {}
        # problems to pass on, and those found here
        self._resolved_problems: list[ProblemsOf] = []
        self._conflicts = KnownProblems()

    def update(self, item: Resolved) -> None:
        """Set the claims of a service, the members of a backend, or problems."""
        match item:
            case ServiceResolved(service, claims, policy):
                self._update_claims(service, dict(claims))
                self._update_policy(service, policy)
            case BackendResolved(service, backend, members):
                self._update_backend(service, backend, members)
            case ProblemsOf():
                self._resolved_problems.append(item)

    def flush(self) -> Iterator[Merged | PanicMode]:
        """Yield what is wanted of all that changed since the last flush, a virtual server before its real servers."""
        yield from self._resolved_problems
        if self._rotation is not None:
            yield from self._rotation.judge()
            for (service, _, virtual), real in self._rotation.settle(self._members):
                self._touch(virtual, service, real)
        for virtual in self._dirty_virtuals:
            yield from self._merge_virtual(virtual)
        for virtual, real in self._dirty_reals:
            yield from self._merge_real(virtual, real)
        self._resolved_problems, self._dirty_virtuals, self._dirty_reals = [], {}, {}

    def _update_claims(self, service: Name, claims: dict[VirtualServer, VirtualServerSpec]) -> None:
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

    def _update_policy(self, service: Name, policy: HealthPolicy | None) -> None:
        if self._rotation is None:
            return
        self._rotation.put_policy(service, policy)
        removes = policy is not None and policy.removes
        if removes == (service in self._removing):
            return
        self._removing ^= {service}
        for virtual in self._claimed_by.get(service, ()):
            for real in self._groups.reals(virtual, service):
                names = self._groups.at(virtual, service, real)
                if not any(self._in_rotation(service, name, virtual) for name in names):
                    self._touch(virtual, service, real)

    def _update_backend(self, service: Name, backend: Name, members: Members) -> None:
        before = self._members.pop((service, backend), ())
        if members:
            self._members[service, backend] = members
        if before == members:
            return
        if self._rotation is not None:
            departing = [virtual for virtual, _ in before if self._departs(virtual, service)]
            self._rotation.put_members(service, backend, before, members, departing)
        old, new = dict(before), dict(members)
        for virtual, member in before:
            if virtual not in new or new[virtual].real != member.real:
                last = self._groups.remove(virtual, service, member.real, backend)
                self._touch(virtual, service, member.real, elide=last)
        for virtual, member in members:
            was = old.get(virtual)
            if was is None or was.real != member.real:
                first = self._groups.add(virtual, service, member.real, backend)
                self._touch(virtual, service, member.real, elide=first)
            elif was.settings != member.settings:
                self._touch(virtual, service, member.real)

    def _departs(self, virtual: VirtualServer, service: Name) -> bool:
        """Tell whether the service owns the virtual server in force, but no longer claims it."""
        return self._owners.get(virtual) == service and virtual not in self._claimed_by.get(service, ())

    def _touch(self, virtual: VirtualServer, service: Name, real: RealServer, *, elide: bool = False) -> None:
        """Have the real server merged; with `elide` also the virtual server, which has its first or no backend now."""
        if elide and self._elide:
            self._dirty_virtuals[virtual] = None
        if self._owners.get(virtual) == service:
            self._dirty_reals[virtual, real] = None

    def _merge_virtual(self, virtual: VirtualServer) -> Iterator[Merged]:
        rivals = self._claims.get(virtual, {})
        owner = min(rivals, default=None)
        losers = sorted(service for service in rivals if service != owner)
        yield from self._conflicts.report(virtual, tuple(_lost(loser, virtual, owner or b"") for loser in losers))
        if owner is not None and self._elide and not self._groups.has_any(virtual, owner):
            owner = None
        before = self._owners.get(virtual)
        if owner is not None:
            self._owners[virtual] = owner
            if self._rotation is not None:
                # members that are not back by now are new when they come
                self._rotation.forget_departed(virtual)
            yield VirtualServerWanted(virtual, rivals[owner])
        elif before is not None:
            del self._owners[virtual]
            yield VirtualServerWanted(virtual, None)
        if owner != before:
            for service in filter(None, (before, owner)):
                self._dirty_reals.update(((virtual, real), None) for real in self._groups.reals(virtual, service))

    def _merge_real(self, virtual: VirtualServer, real: RealServer) -> Iterator[Merged]:
        owner = self._owners.get(virtual)
        if owner is None:
            yield from self._conflicts.report((virtual, real), ())
            return
        names = self._groups.at(virtual, owner, real)
        members = [self._member(owner, name, virtual) for name in names]
        yield from self._conflicts.report((virtual, real), tuple(_ignored(owner, names, members, real)))
        in_rotation = [self._in_rotation(owner, name, virtual) for name in names]
        removed = not members or (owner in self._removing and not any(in_rotation))
        yield RealServerWanted(virtual, real, None if removed else merged(members, in_rotation))

    def _member(self, service: Name, backend: Name, virtual: VirtualServer) -> RealServerSettings:
        return next(member.settings for at, member in self._members[service, backend] if at == virtual)

    def _in_rotation(self, service: Name, backend: Name, virtual: VirtualServer) -> bool:
        return self._rotation is None or self._rotation.in_rotation(service, backend, virtual)


def merged(members: Sequence[RealServerSettings], in_rotation: Sequence[bool]) -> RealServerSettings:
    """Return what a real server is at which `members` meet, the lowest backend name first.

    The weights of those in rotation are summed, up to `MAX_WEIGHT`. So are the
    thresholds of each kind; if one of them has none, there is none. If none is
    in rotation, the weight is 0, and the thresholds are those of all. The method
    and the tunnel are always those of the first.
    """
    if len(members) == 1:
        return members[0] if in_rotation[0] else msgspec.structs.replace(members[0], weight=0)
    counting = [member for member, counts in zip(members, in_rotation, strict=True) if counts]
    weight = min(sum(member.weight for member in counting), MAX_WEIGHT)
    upper = _threshold([member.upper for member in counting or members])
    lower = _threshold([member.lower for member in counting or members])
    return RealServerSettings(members[0].method, weight, upper, lower if upper else 0, members[0].tunnel)


def _lost(service: Name, virtual: VirtualServer, owner: Name) -> Problem:
    return conflict(path_of(FrontendKey(service)), f"{virtual} belongs to service {escape(owner)}")


def _ignored(
    service: Name, names: Sequence[Name], members: Sequence[RealServerSettings], real: RealServer
) -> Iterator[Problem]:
    for name, member in zip(names, members, strict=True):
        first = members[0]
        if member.method is not first.method or member.tunnel != first.tunnel:
            what = "method" if member.method is not first.method else "tunnel"
            reason = f"{what} ignored: {real} has that of backend {escape(names[0])}"
            yield conflict(path_of(BackendKey(service, name)), reason)


def _threshold(values: Sequence[int]) -> int:
    return min(sum(values), MAX_THRESHOLD) if all(values) else 0
