"""Which backends are in rotation: what verdicts do to the members of virtual servers.

A member *in rotation* counts with its weight, one *out of rotation* does not.
A backend that is up by its verdict is in rotation, one that is down is out, and
without a verdict nothing changes: the same real server in the same virtual
server stays in or out, and so does a backend that moves to another real server or
endpoint, by its route, its check or its frontend. So neither a new or changed check nor a lost verdict
takes a backend out or puts one back. A new backend is in or out as the
check's `initial` says, until its real server is found to be in force already
(`inherit`); when the node starts, it is as its real server is in the kernel.

A new backend is *unproven* until it has been up once, for as long as that may take. It may be in rotation
before that: by its check's `initial`, or in a panic.

Without a check every backend is in rotation, but one that was out when its check
went stays out for a while, as a check may be gone for a moment only. So does one that goes with its check,
and is back within that time.

When too few backends of a service are up in one of its families, the service
*panics* there: health is ignored, and the backends that are down are in rotation.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from clusterf.config.model import Name
from clusterf.director.lapses import Lapses, Membership
from clusterf.director.pools import PanicMode, Pools
from clusterf.director.unproven import GRACE, LONGEST, Proving, Unproven
from clusterf.health.policies import HealthPolicy, Policies
from clusterf.ipvs.table import Method, RealServer, Table, VirtualServer
from clusterf.lib.addresses import Endpoint, Family
from clusterf.resolve.resolver import Member

__all__ = ["Members", "Rotation"]

Members = tuple[tuple[VirtualServer, Member], ...]


class Rotation:
    """Whether each member is in rotation.

    Until `begin` all members are treated as new. `in_force` returns the table
    that the kernel has at the start; it is called once at most, when that matters.
    """

    def __init__(self, in_force: Callable[[], Table] = Table) -> None:
        self._read_in_force = in_force
        # what was in force at the start: None before it is read, and after `begin`
        self._in_force: Table | None = None
        self._begun = False
        self._policies = Policies()
        self._pools = Pools()
        self._out: set[Membership] = set()
        self._unproven = Unproven()
        self._lapses = Lapses()
        # members that may have changed since `standing`
        self._changed: dict[Membership, None] = {}
        # backends that may have changed since `settle`
        self._unsettled: dict[tuple[Name, Name], None] = {}

    def begin(self) -> None:
        """From now on a member without a verdict stays in or out; what was in force at the start is forgotten."""
        self._begun = True
        self._in_force = None

    @property
    def unknown(self) -> int:
        """The number of endpoints of backends without a verdict that may get one."""
        return self._pools.unknown

    def awaited(self) -> Iterator[tuple[Name, Name, Endpoint]]:
        """Yield those of the `undecided` that may get a verdict."""
        return self._pools.undecided(refused=False)

    def undecided(self) -> Iterator[tuple[Name, Name, Endpoint]]:
        """Yield the service and name of each backend without a verdict, with its endpoint."""
        return self._pools.undecided()

    def in_rotation(self, service: Name, backend: Name, virtual: VirtualServer) -> bool:
        """Tell whether the member was in rotation at the last `settle`."""
        return (service, backend, virtual) not in self._out

    def is_undecided(self, service: Name, backend: Name, virtual: VirtualServer) -> bool:
        """Tell whether the member has no verdict though it is probed, or out of rotation."""
        probe = self._pools.probe(service, virtual.family, backend)
        return probe.up is None if probe is not None else (service, backend, virtual) in self._out

    def endpoint(self, service: Name, backend: Name, virtual: VirtualServer) -> Endpoint | None:
        """Return where the member is probed, None: it is not."""
        probe = self._pools.probe(service, virtual.family, backend)
        return probe.endpoint if probe is not None else None

    def is_unchecked(self, service: Name, backend: Name, virtual: VirtualServer) -> bool:
        """Tell whether the member is not probed, and so in rotation unless its check has only just gone."""
        return self._pools.probe(service, virtual.family, backend) is None

    def lapse(self, service: Name, backend: Name, virtual: VirtualServer, now: float) -> float:
        """Return for how many seconds a member that is out of rotation stays so if it is not probed any more."""
        until = self._lapses.until((service, backend, virtual))
        return self._policies.lapse(service, backend) if until is None else max(until - now, 0.0)

    def suspend(self, service: Name, backend: Name, virtual: VirtualServer, until: float) -> None:
        """Have a member that is not probed out of rotation until then."""
        self._put((service, backend, virtual), False)
        self._lapses.begin((service, backend, virtual), until)

    def inherit(self, service: Name, backend: Name, virtual: VirtualServer, *, in_rotation: bool) -> None:
        """Put a member that is undecided in or out of rotation, as the real server that it takes over."""
        self._put((service, backend, virtual), in_rotation)
        if in_rotation:
            self._unproven.discard(virtual, service, backend)

    def proving(self, virtual: VirtualServer, service: Name, now: float) -> Proving:
        """Tell how it stands with the unproven backends of the service; `now` is in seconds, as for `settle`."""

        def end(backend: Name, since: float) -> float:
            policy = self._policies.of(service, backend)
            if policy is None:
                # its check has gone: it is out of rotation for a while
                return self._lapses.until((service, backend, virtual)) or now
            awaited = self._is_awaited(service, backend, virtual)
            return since + min(policy.proving, LONGEST) + (GRACE if awaited else 0.0)

        return self._unproven.proving(virtual, service, now, end)

    def _is_awaited(self, service: Name, backend: Name, virtual: VirtualServer) -> bool:
        """Tell whether the member is undecided, and may get a verdict."""
        probe = self._pools.probe(service, virtual.family, backend)
        return self.is_undecided(service, backend, virtual) and (probe is None or not probe.refused)

    def unproven(self, virtual: VirtualServer, service: Name) -> Iterator[Name]:
        """Yield the unproven backends of the service."""
        return self._unproven.backends(virtual, service)

    def put_policy(self, service: Name, policy: HealthPolicy | None) -> None:
        """Set the policy of a service, None: its health is not checked. It comes before the service's members."""
        if not self._policies.put(service, policy):
            return
        self._pools.recount(service)
        if not self._begun:
            self._unsettled.update(((service, backend), None) for backend in self._pools.probed(service))

    def put_verdict(
        self, service: Name, backend: Name, endpoint: Endpoint, up: bool | None, *, refused: bool = False
    ) -> None:
        """Set the verdict on an endpoint of a backend; None revokes it. `refused`: there will be none."""
        if self._pools.put_verdict(service, backend, endpoint, up, refused=refused):
            self._unsettled[service, backend] = None

    def put_members(self, service: Name, backend: Name, before: Members, now: Members) -> None:
        """Set the memberships of a backend, which were `before`."""
        self._policies.put_own(service, backend, next((member.policy for _, member in now), None))
        probed = {virtual.family: member.endpoint for virtual, member in now if member.endpoint is not None}
        was_probed = any(member.endpoint is not None for _, member in before)
        returns = any(self._lapses.has_left((service, backend, v)) for v, _ in now)
        unproven = any(self._unproven.has(v, service, backend) for v, _ in before)
        if not (
            probed or was_probed or returns or unproven or any((service, backend, v) in self._out for v, _ in before)
        ):
            return
        old, new = dict(before), dict(now)
        was_in = [(v, member, self.in_rotation(service, backend, v)) for v, member in before]
        for virtual, member in now:
            if virtual not in old or old[virtual].real != member.real:
                moved = _moved(virtual, member, was_in) if self._begun else None
                self._join((service, backend, virtual), member, moved, unproven=unproven or moved is None)
                for at in old if moved is False else ():
                    self._lapses.move((service, backend, at), (service, backend, virtual))
        for virtual, member in before:
            if virtual not in new:
                self._leave((service, backend, virtual), member)
        for family in Family:
            self._pools.aim(service, family, backend, probed.get(family))
        self._unsettled[service, backend] = None

    def judge(self) -> Iterator[PanicMode]:
        """Yield the services and families that begin or cease to panic."""
        if not self._begun:
            return
        for mode, down in self._pools.judge(self._policies.panic_threshold):
            self._unsettled.update(((mode.service, backend), None) for backend in down)
            yield mode

    def settle(
        self, members: Mapping[tuple[Name, Name], Members], now: float = 0.0
    ) -> Iterator[tuple[Membership, RealServer]]:
        """Put members in or out of rotation, and yield those that change; to be called after `judge`.

        `now` is in seconds, on any clock that does not go back.
        """
        self._changed.update(dict.fromkeys(self._lapses.stamp(now)))
        for membership in self._lapses.due(now):
            self._changed[membership] = self._unsettled[membership[:2]] = None
        for service, backend in self._unsettled:
            for virtual, member in members.get((service, backend), ()):
                membership = (service, backend, virtual)
                self._changed[membership] = None
                before = membership not in self._out
                after = self._decide(membership, member, now, before=before)
                if after != before:
                    self._put(membership, after)
                    yield membership, member.real
                self._prove(membership, member, now, before=before, after=after)
                self._unproven.stamp(virtual, service, backend, now)
        self._unsettled = {}
        self._policies.settled()

    def limit(self, known: float) -> None:
        """Have a member whose check has gone in rotation only if its time was over at the moment `known`."""
        self._lapses.known = known

    @property
    def lapsing(self) -> Mapping[Membership, float]:
        """Until when members stay out of rotation whose check has gone."""
        return self._lapses.all

    def standing(self) -> Mapping[Membership, float | None]:
        """Return what has changed since the last call: until when members stay out, without a check, or have left.

        Negative: for how many seconds a member that is out would. None: neither.
        """
        changed, self._changed = self._changed, {}
        return {membership: self._standing(membership) for membership in changed}

    def recorded(self, memberships: Iterable[Membership]) -> None:
        """Have `standing` tell about these, as something is recorded of them."""
        self._changed.update(dict.fromkeys(memberships))

    def _standing(self, membership: Membership) -> float | None:
        until = self._lapses.until(membership)
        if until is None and membership in self._out:
            return -self._policies.lapse(*membership[:2]) or None
        return until

    def remember(self, membership: Membership, until: float) -> None:
        """Have a member out of rotation that was out when it left, if it is back until then."""
        self._lapses.remember(membership, None, until)

    @property
    def due(self) -> float | None:
        """When `settle` may put members in rotation though nothing else changes, None: never."""
        return self._lapses.first

    def _decide(self, membership: Membership, member: Member, now: float, *, before: bool) -> bool:
        service, backend, virtual = membership
        if member.endpoint is None:
            return (
                before
                or not self._begun
                or not self._lapses.waits(membership, self._policies.lapse(service, backend), now)
            )
        self._lapses.discard(membership)
        probe = self._pools.probe(service, virtual.family, backend)
        if probe is not None and probe.up is not None:
            return probe.up or self._pools.panics(service, virtual.family)
        return before if self._begun else self._initially(membership, member)

    def _prove(self, membership: Membership, member: Member, now: float, *, before: bool, after: bool) -> None:
        """Note that a member is proven if it is up, or has no check; one that was in rotation may have it back soon."""
        service, backend, virtual = membership
        if member.endpoint is not None:
            self._unproven.check(virtual, service, backend, now)
            probe = self._pools.probe(service, virtual.family, backend)
            proven = probe is not None and probe.up is True
        else:
            lapse = self._policies.lapse(service, backend) if before else 0.0
            if lapse:
                self._unproven.uncheck(virtual, service, backend, now + min(lapse, LONGEST))
            proven = not lapse and not self._unproven.is_unchecked(virtual, service, backend)
        if after and proven:
            self._unproven.discard(virtual, service, backend)

    def _initially(self, membership: Membership, member: Member) -> bool:
        weight = self._found_weight(membership, member)
        if weight is not None:
            return weight > 0
        policy = self._policies.of(*membership[:2])
        assert policy is not None, "there is no endpoint without a check"
        return policy.starts_in_rotation

    def _found_weight(self, membership: Membership, member: Member) -> int | None:
        """Return the weight that the member's real server had at the start; None: it was not there, or that is over."""
        if not self._begun and self._in_force is None:
            self._in_force = self._read_in_force()
        present = self._in_force.reals.get(membership[2], {}).get(member.real) if self._in_force is not None else None
        return present.weight if present is not None else None

    def _join(self, membership: Membership, member: Member, moved: bool | None, *, unproven: bool) -> None:
        """Add a membership; `moved`: whether the backend was in rotation where it comes from, None: it is new.

        `unproven`: it has not been up yet, unless it is found in force.
        """
        service, backend, virtual = membership
        if self._begun and self._lapses.is_back(membership, member.real):
            if moved is None:
                moved, unproven = False, True
            else:
                self._lapses.discard(membership)
        if member.endpoint is None:
            self._put(membership, moved is not False)
            return
        in_rotation = self._initially(membership, member) if moved is None else moved
        self._put(membership, in_rotation)
        found = moved is None and self._found_weight(membership, member)
        if found:
            self._unproven.discard(virtual, service, backend)
        elif unproven and member.settings.weight:
            self._unproven.add(virtual, service, backend)

    def _leave(self, membership: Membership, member: Member) -> None:
        service, backend, virtual = membership
        self._changed[membership] = None
        if membership in self._out and self._begun:
            self._lapses.leave(membership, member.real, min(self._policies.lapse(service, backend), LONGEST))
        self._out.discard(membership)
        self._unproven.discard(virtual, service, backend)
        self._lapses.discard(membership)

    def _put(self, membership: Membership, in_rotation: bool) -> None:
        self._changed[membership] = None
        if in_rotation:
            self._out.discard(membership)
            self._lapses.discard(membership)
        else:
            self._out.add(membership)


def _moved(virtual: VirtualServer, member: Member, before: Sequence[tuple[VirtualServer, Member, bool]]) -> bool | None:
    """Return whether the backend was in rotation where it was a member before, None: it was not at this address.

    In the same virtual server, if it was a member there, else in others of the family.
    """
    found = None
    for at, was, in_rotation in before:
        if at.family is not virtual.family or not _is_same(was.endpoint, member.endpoint):
            continue
        if at != virtual:
            found = found or in_rotation
        elif not _is_at_another_port(was, member):
            return in_rotation
    return found


def _is_at_another_port(was: Member, now: Member) -> bool:
    """Tell whether a backend is at another port of the same machine, where somebody else listens.

    Only masquerading forwards to a port of the backend's own.
    """
    masqueraded = was.settings.method is now.settings.method is Method.MASQ
    return masqueraded and was.real.address == now.real.address and was.real.port != now.real.port


def _is_same(was: Endpoint | None, now: Endpoint | None) -> bool:
    """Tell whether two endpoints are at the same address; one that is not known is."""
    return was is None or now is None or was.packed == now.packed
