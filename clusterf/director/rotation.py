"""Which backends count: what verdicts do to the members of virtual servers.

A member that *stands* counts with its weight, one that has *fallen* does not.
Who is up by its verdict stands, who is down has fallen, and no verdict changes
nothing: the same real server in the same virtual server keeps its standing. So
neither a check that is new or changed nor a verdict that is lost takes a
backend out, or puts one back. A real server that is new stands or not as the
check's `initial` says; when the node starts it is as it is in the kernel. So is one
whose virtual server left the configuration and comes back before its removal
has begun: how it stood is remembered for as long.

When too few backends of a service are up in one of its families it *panics*:
health is ignored for it there, and those that are down stand.

Verdicts and configuration may come in any order. A verdict counts for one
endpoint of a backend; it is kept for as long as it is told, also while the
backend has no such endpoint.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import msgspec

from clusterf.config.model import Name
from clusterf.director.resolver import HealthPolicy, Member
from clusterf.ipvs.table import RealServer, Table, VirtualServer
from clusterf.lib.addresses import Endpoint, Family
from clusterf.lib.text import escape

__all__ = ["Members", "PanicMode", "Rotation"]

Members = tuple[tuple[VirtualServer, Member], ...]

_Membership = tuple[Name, Name, VirtualServer]  # of a service's backend in a virtual server


class PanicMode(NamedTuple):
    """Whether health is ignored for a service in a family, as `down` of `total` backends are down there.

    `threshold` is in percent.
    """

    service: Name
    family: Family
    panic: bool
    down: int
    total: int
    threshold: float


class _Probe(msgspec.Struct, frozen=True, gc=False):
    """Where a backend is probed, and what that has shown; None: nothing yet."""

    endpoint: Endpoint
    up: bool | None


class _Pool:
    """The backends of a service that are probed in one family, and take part in its virtual servers there."""

    __slots__ = ("down", "panic", "probes")

    def __init__(self) -> None:
        self.probes: dict[Name, _Probe] = {}
        self.down = 0
        self.panic = False

    def panics(self, threshold: float) -> bool:
        """Tell whether too few of them are up; those of which nothing is known are not down."""
        return (len(self.probes) - self.down) * 100 < threshold * len(self.probes)


class Rotation:
    """The standing of every member that is checked.

    Until `begin` nothing has a standing yet: all are as if they were new.
    `in_force` returns the table that the kernel has at the start; it is asked
    once, and not before that matters.
    """

    def __init__(self, in_force: Callable[[], Table] = Table) -> None:
        self._read_in_force = in_force
        # what was in force at the start, while it counts and once it has been read
        self._in_force: Table | None = None
        self._begun = False
        self._effects: dict[Name, HealthPolicy] = {}
        self._pools: dict[tuple[Name, Family], _Pool] = {}
        # verdicts for endpoints that their backend does not have at present
        self._stray: dict[tuple[Name, Name, Endpoint], bool] = {}
        self._fallen: set[_Membership] = set()
        # how members stood that went with their virtual server, which is still in force
        self._departed: dict[VirtualServer, dict[tuple[Name, Name], tuple[RealServer, bool]]] = {}
        # pools in which the count has changed since it was last judged
        self._uncounted: dict[tuple[Name, Family], None] = {}
        # backends that may have come to stand or to fall since this was last settled
        self._unsettled: dict[tuple[Name, Name], None] = {}
        # how many endpoints of backends there are without a verdict
        self.unknown = 0

    def begin(self) -> None:
        """From now on who is without a verdict keeps its standing; what was in force at the start is forgotten."""
        self._begun = True
        self._in_force = None

    def forget_departed(self, virtual: VirtualServer) -> None:
        """Take it that who went with the virtual server is no longer in force there; one that comes back is new."""
        self._departed.pop(virtual, None)

    def undecided(self) -> Iterator[str]:
        """Yield each backend without a verdict, and where it is probed, fit for a log."""
        for (service, _), pool in self._pools.items():
            for backend, probe in pool.probes.items():
                if probe.up is None:
                    yield f"{escape(service)}/{escape(backend)}: {probe.endpoint}"

    def stands(self, service: Name, backend: Name, virtual: VirtualServer) -> bool:
        """Tell whether the member counts, as it was last settled."""
        return (service, backend, virtual) not in self._fallen

    def put_effect(self, service: Name, effect: HealthPolicy | None) -> None:
        """Take `effect` for what health does in the service, None: nothing. It comes before the service's members."""
        old = self._effects.pop(service, None)
        if effect is not None:
            self._effects[service] = effect
        if effect == old:
            return
        for family in Family:
            pool = self._pools.get((service, family))
            if pool is not None:
                self._uncounted[service, family] = None
                if not self._begun:
                    self._unsettled.update(((service, backend), None) for backend in pool.probes)

    def put_verdict(self, service: Name, backend: Name, endpoint: Endpoint, up: bool | None) -> None:
        """Take `up` for what is known of the endpoint of a backend, None: nothing."""
        family = Family.IPV4 if len(endpoint.packed) == 4 else Family.IPV6
        probe = self._probe(service, family, backend)
        if probe is not None and probe.endpoint == endpoint:
            if probe.up is not up:
                self._put_probe(service, family, backend, _Probe(probe.endpoint, up))
        elif up is None:
            self._stray.pop((service, backend, endpoint), None)
        else:
            self._stray[service, backend, endpoint] = up

    def put_members(
        self, service: Name, backend: Name, before: Members, now: Members, departing: Collection[VirtualServer]
    ) -> None:
        """Take `now` for the memberships of a backend, which were `before`.

        Those virtual servers are `departing` that have left the configuration
        and stay in force for the time being: how the backend stood there is
        remembered until `forget_departed`.
        """
        probed = {virtual.family: member.endpoint for virtual, member in now if member.endpoint is not None}
        if not probed and all(member.endpoint is None for _, member in before):
            return
        old, new = dict(before), dict(now)
        for virtual, member in before:
            if virtual not in new:
                self._leave((service, backend, virtual), member, departs=virtual in departing)
        for virtual, member in now:
            if virtual not in old or old[virtual].real != member.real:
                self._join((service, backend, virtual), member)
        for family in Family:
            self._aim(service, family, backend, probed.get(family))
        self._unsettled[service, backend] = None

    def judge(self) -> Iterator[PanicMode]:
        """Yield where health has begun or ceased to be ignored."""
        if not self._begun:
            return
        for service, family in self._uncounted:
            pool = self._pools[service, family]
            threshold = self._effects[service].panic_threshold if service in self._effects else 0.0
            if pool.panics(threshold) != pool.panic:
                pool.panic = not pool.panic
                self._unsettled.update(((service, b), None) for b, probe in pool.probes.items() if probe.up is False)
                yield PanicMode(service, family, pool.panic, pool.down, len(pool.probes), threshold)
            if not pool.probes:
                del self._pools[service, family]
        self._uncounted = {}

    def settle(self, members: Mapping[tuple[Name, Name], Members]) -> Iterator[tuple[_Membership, RealServer]]:
        """Yield each membership that has come to stand or to fall, after `judge`."""
        for service, backend in self._unsettled:
            for virtual, member in members.get((service, backend), ()):
                membership = (service, backend, virtual)
                stood = membership not in self._fallen
                stands = self._stands_now(membership, member, stood=stood)
                if stands != stood:
                    self._put(membership, stands=stands)
                    yield membership, member.real
        self._unsettled = {}

    def _stands_now(self, membership: _Membership, member: Member, *, stood: bool) -> bool:
        service, backend, virtual = membership
        if member.endpoint is None:
            return True
        pool = self._pools[service, virtual.family]
        up = pool.probes[backend].up
        if up is not None:
            return up or pool.panic
        return stood if self._begun else self._stands_at_first(membership, member)

    def _stands_at_first(self, membership: _Membership, member: Member) -> bool:
        service, _, virtual = membership
        if not self._begun and self._in_force is None:
            self._in_force = self._read_in_force()
        present = self._in_force.reals.get(virtual, {}).get(member.real) if self._in_force is not None else None
        return present.weight > 0 if present is not None else self._effects[service].stands

    def _join(self, membership: _Membership, member: Member) -> None:
        if member.endpoint is None:
            return
        service, backend, virtual = membership
        was_real, stood = self._departed.get(virtual, {}).pop((service, backend), (None, False))
        self._put(membership, stands=stood if was_real == member.real else self._stands_at_first(membership, member))

    def _leave(self, membership: _Membership, member: Member, *, departs: bool) -> None:
        if departs and self._begun and member.endpoint is not None:
            service, backend, virtual = membership
            self._departed.setdefault(virtual, {})[service, backend] = member.real, membership not in self._fallen
        self._fallen.discard(membership)

    def _put(self, membership: _Membership, *, stands: bool) -> None:
        if stands:
            self._fallen.discard(membership)
        else:
            self._fallen.add(membership)

    def _aim(self, service: Name, family: Family, backend: Name, endpoint: Endpoint | None) -> None:
        """Have the backend probed at `endpoint`, with what is known of it; None: not at all."""
        old = self._probe(service, family, backend)
        if endpoint == (old.endpoint if old is not None else None):
            return
        if old is not None and old.up is not None:
            self._stray[service, backend, old.endpoint] = old.up
        known = self._stray.pop((service, backend, endpoint), None) if endpoint is not None else None
        self._put_probe(service, family, backend, _Probe(endpoint, known) if endpoint is not None else None)

    def _probe(self, service: Name, family: Family, backend: Name) -> _Probe | None:
        pool = self._pools.get((service, family))
        return pool.probes.get(backend) if pool is not None else None

    def _put_probe(self, service: Name, family: Family, backend: Name, probe: _Probe | None) -> None:
        pool = self._pools.setdefault((service, family), _Pool())
        old = pool.probes.pop(backend, None)
        if probe is not None:
            pool.probes[backend] = probe
        for change, at in ((-1, old), (1, probe)):
            if at is not None:
                pool.down += change * (at.up is False)
                self.unknown += change * (at.up is None)
        self._uncounted[service, family] = None
        self._unsettled[service, backend] = None
