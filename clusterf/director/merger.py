"""From claims and members to the desired table: the incremental merger.

Decides what needs several services or backends at once: who owns a virtual
server that two services claim, and what a real server is at which several
backends meet, of which only those in rotation count. It answers with wanted
virtual and real servers, only for what a change concerns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from clusterf.config.keys import path_of
from clusterf.config.model import FrontendKey, Name
from clusterf.config.problems import KnownProblems, Problem, ProblemsOf, conflict
from clusterf.director.claims import Claims
from clusterf.director.groups import BackendGroups
from clusterf.director.lapses import Membership
from clusterf.director.meeting import merged, overruled
from clusterf.director.pools import PanicMode
from clusterf.director.rotation import Members, Rotation
from clusterf.director.take_overs import InForce, NothingInForce, TakeOvers
from clusterf.director.unproven import Proving
from clusterf.health.policies import HealthPolicy
from clusterf.ipvs.table import RealServer, RealServerSettings, VirtualServer, VirtualServerSpec
from clusterf.lib.text import escape
from clusterf.resolve.resolver import BackendResolved, Member, Resolved, ServiceResolved

__all__ = ["Merged", "Merger", "Origin", "RealServerWanted", "VirtualServerWanted"]


class Origin(NamedTuple):
    """The service that a server belonged to, None: not known, and the node that had published it, if one had."""

    service: Name | None
    publisher: str | None = None


class VirtualServerWanted(NamedTuple):
    """The virtual server is wanted like this; claim None: neither it nor its real servers are wanted.

    `origin`: where one that is no longer wanted came from.
    """

    virtual: VirtualServer
    claim: VirtualServerSpec | None
    origin: Origin = Origin(None)


class RealServerWanted(NamedTuple):
    """The real server is wanted like this in a wanted virtual server; settings None: it is not wanted.

    `origin`: where one came from that has left the configuration. None: it is wanted, or health removes it.
    `lapse`: the seconds for which the verdicts that take weight from it would count without a check.
    """

    virtual: VirtualServer
    real: RealServer
    settings: RealServerSettings | None
    origin: Origin | None = None
    lapse: float = 0.0


Merged = VirtualServerWanted | RealServerWanted | ProblemsOf


class Merger:
    """Merges what was resolved; `flush` returns what changes in the desired table.

    With `elide` a virtual server without backends is not wanted. Without
    `rotation` health is ignored. A real server `in_force` that a backend without a verdict takes over
    keeps its weight; so does, for a while, one that lacks weight by verdicts if a backend without a check does.
    """

    def __init__(
        self,
        *,
        elide: bool = False,
        rotation: Rotation | None = None,
        in_force: InForce = NothingInForce(),  # noqa: B008
    ) -> None:
        self._elide = elide
        self._rotation = rotation
        self._take_overs = TakeOvers(in_force)
        self._claims = Claims()
        self._members: dict[tuple[Name, Name], Members] = {}
        self._groups = BackendGroups()
        # the services whose real servers without a member in rotation are removed, instead of drained
        self._removing: set[Name] = set()
        # the service that owned each wanted virtual server at the last flush
        self._owners: dict[VirtualServer, Name] = {}
        # what has changed since the last flush; dictionaries keep the order
        self._dirty_virtuals: dict[VirtualServer, None] = {}
        self._dirty_reals: dict[tuple[VirtualServer, RealServer], None] = {}
        # the publisher of the backends that real servers have lost
        self._publishers: dict[tuple[VirtualServer, RealServer], str | None] = {}
        # problems to pass on, and those found here
        self._resolved_problems: list[ProblemsOf] = []
        self._conflicts = KnownProblems()

    def update(self, item: Resolved) -> None:
        """Set the claims of a service, the members of a backend, or problems."""
        match item:
            case ServiceResolved(service, _, policy):
                self._dirty_virtuals.update(dict.fromkeys(self._claims.put(item)))
                self._update_policy(service, policy)
            case BackendResolved(service, backend, members):
                self._update_backend(service, backend, members)
            case ProblemsOf():
                self._resolved_problems.append(item)

    def proving(self, virtual: VirtualServer, now: float) -> Proving:
        """Tell how it stands with the unproven backends in the virtual server; `now` is in seconds, as for `flush`."""
        owner = self._owners.get(virtual)
        if self._rotation is None or owner is None:
            return Proving()
        proving = self._rotation.proving(virtual, owner, now)
        counting = [n for n in self._rotation.unproven(virtual, owner) if self._in_rotation(owner, n, virtual)]
        return proving._replace(weight=sum(self._member(owner, name, virtual).weight for name in counting))

    @property
    def due(self) -> float | None:
        """When `flush` may yield more though nothing else changes, None: never."""
        return self._rotation.due if self._rotation is not None else None

    def flush(self, now: float = 0.0) -> Iterator[Merged | PanicMode]:
        """Yield what is wanted of all that changed since the last flush, a virtual server before its real servers.

        `now` is in seconds, on any clock that does not go back.
        """
        yield from self._resolved_problems
        if self._rotation is not None:
            yield from self._rotation.judge()
            for (service, name, virtual), real in self._rotation.settle(self._members, now):
                self._touch(virtual, service, real)
                if not self._rotation.in_rotation(service, name, virtual):
                    # a verdict has taken it out: nobody is to stand in for it
                    self._take_overs.excuse(virtual, real)
        for virtual in self._dirty_virtuals:
            yield from self._merge_virtual(virtual)
        for virtual, real in self._dirty_reals:
            yield from self._merge_real(virtual, real, now)
        self._resolved_problems, self._dirty_virtuals, self._dirty_reals = [], {}, {}
        self._publishers = {}
        self._take_overs.end()

    def begin(self, in_force: Callable[[VirtualServer, RealServer], RealServerSettings | None]) -> None:
        """Have backends without a verdict in rotation only as far as the weight that real servers had needs them.

        To be called once all is known, at the start: `in_force` returns what was in force before. Of
        several backends at one real server those that are up may make up for all of its weight.
        """
        undecided = [] if self._rotation is None else list(self._rotation.undecided())
        places = {
            (virtual, service, member.real): None
            for service, name, _ in undecided
            for virtual, member in self._members[service, name]
        }
        for virtual, service, real in places:
            found = in_force(virtual, real)
            if found is not None and len(self._groups.at(virtual, service, real)) > 1:
                self._take_overs.lend(virtual, real, found.weight)
                self._touch(virtual, service, real)

    def resume(self, lapses: Mapping[Membership, float], now: float = 0.0) -> None:
        """Have members stay out of rotation until these times, unless they are checked; to be called with `begin`.

        A negative one is that of a member that was checked: so many seconds from `now`.
        """
        if self._rotation is None:
            return
        self._rotation.recorded(lapses)
        for (service, name, virtual), recorded in lapses.items():
            until = recorded if recorded >= 0 else now - recorded
            real = next((m.real for at, m in self._members.get((service, name), ()) if at == virtual), None)
            if real is None:
                self._rotation.remember((service, name, virtual), until)
            elif self._rotation.is_unchecked(service, name, virtual):
                self._rotation.suspend(service, name, virtual, until)
                self._touch(virtual, service, real)

    def _update_policy(self, service: Name, policy: HealthPolicy | None) -> None:
        if self._rotation is None:
            return
        self._rotation.put_policy(service, policy)
        removes = policy is not None and policy.removes
        if removes == (service in self._removing):
            return
        self._removing ^= {service}
        for virtual in self._claims.claimed_by(service):
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
        old, new = dict(before), dict(members)
        for virtual, member in before:
            if virtual not in new or new[virtual].real != member.real:
                self._note_publisher(virtual, member)
                last = self._groups.remove(virtual, service, member.real, backend)
                self._touch(virtual, service, member.real, elide=last)
                self._take_overs.lost(virtual, member.real, in_rotation=self._in_rotation(service, backend, virtual))
        if self._rotation is not None:
            self._rotation.put_members(service, backend, before, members)
        for virtual, member in members:
            was = old.get(virtual)
            if was is None or was.real != member.real:
                if not self._groups.at(virtual, service, member.real):
                    self._take_overs.change_hands(virtual, member.real)
                first = self._groups.add(virtual, service, member.real, backend)
                self._touch(virtual, service, member.real, elide=first)
            elif was.settings != member.settings:
                self._touch(virtual, service, member.real)

    def _note_publisher(self, virtual: VirtualServer, member: Member) -> None:
        """Note who published what a real server has lost; if several did, nobody counts."""
        publishers = self._publishers
        key = virtual, member.real
        publishers[key] = member.publisher if publishers.get(key, member.publisher) == member.publisher else None

    def _touch(self, virtual: VirtualServer, service: Name, real: RealServer, *, elide: bool = False) -> None:
        """Have the real server merged; with `elide` also the virtual server, which has its first or no backend now."""
        if elide and self._elide:
            self._dirty_virtuals[virtual] = None
        if self._owners.get(virtual) == service:
            self._dirty_reals[virtual, real] = None

    def _merge_virtual(self, virtual: VirtualServer) -> Iterator[Merged]:
        rivals = self._claims.rivals(virtual)
        owner = min(rivals, default=None)
        losers = sorted(service for service in rivals if service != owner)
        yield from self._conflicts.report(virtual, tuple(_lost(loser, virtual, owner or b"") for loser in losers))
        if owner is not None and self._elide and not self._groups.has_any(virtual, owner):
            owner = None
        before = self._owners.get(virtual)
        if owner is not None:
            self._owners[virtual] = owner
            yield VirtualServerWanted(virtual, rivals[owner])
        elif before is not None:
            del self._owners[virtual]
            yield VirtualServerWanted(virtual, None, Origin(before))
        if owner != before:
            for service in filter(None, (before, owner)):
                for real in self._groups.reals(virtual, service):
                    self._dirty_reals[virtual, real] = None
                    self._take_overs.change_hands(virtual, real)

    def _merge_real(self, virtual: VirtualServer, real: RealServer, now: float) -> Iterator[Merged]:
        owner = self._owners.get(virtual)
        if owner is None:
            self._take_overs.forget(virtual, real)
            yield from self._conflicts.report((virtual, real), ())
            return
        names = self._groups.at(virtual, owner, real)
        members = [self._member(owner, name, virtual) for name in names]
        yield from self._conflicts.report((virtual, real), tuple(overruled(owner, names, members, real)))
        if not members:
            self._take_overs.forget(virtual, real)
            yield RealServerWanted(virtual, real, None, Origin(owner, self._publishers.get((virtual, real))))
            return
        if self._rotation is not None:
            weights = {name: member.weight for name, member in zip(names, members, strict=True)}
            self._take_overs.settle(self._rotation, owner, weights, virtual, real, now)
        in_rotation = [self._in_rotation(owner, name, virtual) for name in names]
        removed = owner in self._removing and not any(in_rotation)
        settings = None if removed else merged(members, in_rotation)
        yield RealServerWanted(virtual, real, settings, lapse=self._lapse(owner, names, virtual, now))

    def _lapse(self, service: Name, names: Sequence[Name], virtual: VirtualServer, now: float) -> float:
        """Return the seconds for which the verdicts on these backends would count without a check."""
        if self._rotation is None:
            return 0.0
        out = [name for name in names if not self._rotation.in_rotation(service, name, virtual)]
        return max((self._rotation.lapse(service, name, virtual, now) for name in out), default=0.0)

    def _member(self, service: Name, backend: Name, virtual: VirtualServer) -> RealServerSettings:
        return next(member.settings for at, member in self._members[service, backend] if at == virtual)

    def _in_rotation(self, service: Name, backend: Name, virtual: VirtualServer) -> bool:
        return self._rotation is None or self._rotation.in_rotation(service, backend, virtual)


def _lost(service: Name, virtual: VirtualServer, owner: Name) -> Problem:
    return conflict(path_of(FrontendKey(service)), f"{virtual} belongs to service {escape(owner)}")
