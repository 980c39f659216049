"""From configuration to claims and members: the incremental resolver.

A frontend becomes *claims* on virtual servers; a backend becomes a *member* of
each virtual server that its service claims, as the real server that its route
says. The resolver takes single objects by key and answers with what becomes of
those concerned, so that one changed backend costs one look-up, a changed
frontend its service, a changed route the backends under it, and a changed key
of `vips/` the claims of the frontends under it. A changed health check costs its
service only where it changes which endpoints are probed, and the backends that
have a check of their own; all else in it concerns only the probes.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec
from sortedcontainers import SortedList

from clusterf.config.keys import path_of
from clusterf.config.model import (
    Backend,
    BackendCheck,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthCheck,
    HealthKey,
    Key,
    Name,
    Route,
    RouteKey,
    Value,
    VipKey,
    VipRule,
)
from clusterf.config.problems import KnownProblems, Problem, ProblemsOf, conflict
from clusterf.health.checks import Checks
from clusterf.health.policies import HealthPolicy, policy_of
from clusterf.health.targets import endpoint
from clusterf.ipvs.table import RealServer, RealServerSettings, VirtualServer, VirtualServerSpec
from clusterf.lib.addresses import Endpoint, Family, Protocol, is_within
from clusterf.lib.mapping import put
from clusterf.lib.text import escape
from clusterf.resolve.placement import place
from clusterf.resolve.prefixes import AddressRange
from clusterf.resolve.routes import RouteTable
from clusterf.resolve.vip_rules import VipRules
from clusterf.resolve.virtual_servers import Defaults, marked_protocol, virtual_servers

__all__ = ["BackendResolved", "Member", "Resolved", "Resolver", "ServiceResolved"]


class Member(msgspec.Struct, frozen=True, gc=False):
    """A backend's part in a virtual server: its real server, with the settings that it has in rotation.

    `endpoint` is where it is probed; None: it is not, and always in rotation.
    `publisher` is the node that published the backend, None: an operator wrote it.
    `policy` is that of the backend's own check, None: that of its service counts.
    """

    real: RealServer
    settings: RealServerSettings
    endpoint: Endpoint | None = None
    publisher: str | None = None
    policy: HealthPolicy | None = None


class ServiceResolved(NamedTuple):
    """The service claims these virtual servers, and no others; policy None: its health is not checked.

    (Its backends' may be, by checks of their own.) Of those that are `forbidden` it may own none,
    whoever else claims them.
    """

    service: Name
    claims: tuple[tuple[VirtualServer, VirtualServerSpec], ...]
    policy: HealthPolicy | None = None
    forbidden: frozenset[VirtualServer] = frozenset()


class BackendResolved(NamedTuple):
    """The backend is a member of these virtual servers, and no others."""

    service: Name
    backend: Name
    members: tuple[tuple[VirtualServer, Member], ...]


Resolved = ServiceResolved | BackendResolved | ProblemsOf


class _Dirty:
    """What has changed since the last flush; dictionaries keep the order."""

    def __init__(self) -> None:
        self.services: dict[Name, None] = {}
        # (those whose backends are members as before)
        self.claims: dict[Name, None] = {}
        self.backends: dict[BackendKey, None] = {}
        self.routes: dict[RouteKey, None] = {}
        self.ranges: dict[AddressRange, None] = {}


class Resolver:
    """Resolves objects as they come; `flush` returns what has become of them."""

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self._frontends: dict[Name, Frontend] = {}
        self._backends: dict[Name, dict[Name, Backend]] = {}
        # those that have a check of their own
        self._own_checks: dict[Name, dict[Name, BackendCheck]] = {}
        self._routes = RouteTable()
        # (address, service, backend) of each backend, to find those under a changed route
        self._by_address: dict[Family, SortedList] = {family: SortedList() for family in Family}
        self._rules = VipRules(strict=defaults.strict_vips)
        # (address, service) of each frontend, to find those under a changed key of `vips/`
        self._by_vip: dict[Family, SortedList] = {family: SortedList() for family in Family}
        self._checks = Checks()
        self._claims: dict[Name, tuple[tuple[VirtualServer, VirtualServerSpec], ...]] = {}
        self._problems = KnownProblems()
        self._dirty = _Dirty()

    def update(self, key: Key, value: Value | None) -> None:
        """Set the value of `key`, or with None remove it."""
        match key:
            case FrontendKey(service):
                assert value is None or isinstance(value, Frontend)
                self._update_frontend(service, value)
            case BackendKey():
                assert value is None or isinstance(value, Backend)
                self._update_backend(key, value)
            case RouteKey(name):
                assert value is None or isinstance(value, Route)
                self._update_route(name, value)
            case VipKey(name):
                assert value is None or isinstance(value, VipRule)
                for family, first, last in self._rules.put(name, value):
                    found = self._by_vip[family].irange((first,), (last + 1,))
                    self._dirty.claims.update((service, None) for _, service in found)
            case HealthKey(service):
                assert value is None or isinstance(value, HealthCheck)
                self._change_check(service, lambda: self._checks.update(service, value))

    def note(self, key: Key, source: str, *, invalid: bool) -> None:
        """Note whether the value of `key` is invalid in a source."""
        if isinstance(key, HealthKey):
            self._change_check(key.service, lambda: self._checks.note(key.service, source, invalid=invalid))

    def flush(self) -> Iterator[Resolved]:
        """Yield what has become of all that changed since the last flush."""
        dirty, self._dirty = self._dirty, _Dirty()
        for service in dirty.claims | dirty.services:
            yield from self._resolve_service(service)
        for service in dirty.services:
            for backend in self._backends.get(service, ()):
                dirty.backends[BackendKey(service, backend)] = None
        for key in self._under(dirty.ranges):
            dirty.backends[key] = None
        for key in dirty.backends:
            yield from self._resolve_backend(key)
        for route in dirty.routes:
            yield from self._report(route, self._route_problems(route.route))

    def _update_frontend(self, service: Name, value: Frontend | None) -> None:
        old = self._frontends.get(service)
        if not put(self._frontends, service, value):
            return
        for address in old.addresses if old is not None else ():
            self._by_vip[Family.of(address)].remove((int(address), service))
        for address in value.addresses if value is not None else ():
            self._by_vip[Family.of(address)].add((int(address), service))
        self._dirty.services[service] = None

    def _update_backend(self, key: BackendKey, value: Backend | None) -> None:
        siblings = self._backends.setdefault(key.service, {})
        old = siblings.get(key.backend)
        changed = put(siblings, key.backend, value)
        if not siblings:
            del self._backends[key.service]
        if not changed:
            return
        self._note_own_check(key, value.health if value is not None else None)
        for address in old.addresses if old is not None else ():
            self._by_address[Family.of(address)].remove((int(address), key.service, key.backend))
        for address in value.addresses if value is not None else ():
            self._by_address[Family.of(address)].add((int(address), key.service, key.backend))
        self._dirty.backends[key] = None

    def _note_own_check(self, key: BackendKey, own: BackendCheck | None) -> None:
        siblings = self._own_checks.setdefault(key.service, {})
        put(siblings, key.backend, own)
        if not siblings:
            del self._own_checks[key.service]

    def _update_route(self, name: Name, value: Route | None) -> None:
        concerned = self._routes.sharing(name)
        self._dirty.ranges.update(dict.fromkeys(self._routes.put(name, value)))
        concerned |= {name} | self._routes.sharing(name)
        self._dirty.routes.update(dict.fromkeys(map(RouteKey, sorted(concerned))))

    def _change_check(self, service: Name | None, change: Callable[[], bool]) -> None:
        """Change the check of a service, or with None the default one; `change` returns whether that does anything."""
        old, had_own = self._checks.in_force(service), self._checks.has_own(service)
        if not change():
            return
        new = self._checks.in_force(service)
        if service is None:
            concerned = [name for name in self._frontends if not self._checks.has_own(name)]
            owner_changes = False
        else:
            concerned = [service] if service in self._frontends else []
            owner_changes = had_own != self._checks.has_own(service)  # its problems are reported under another key
        if _checked_port(old) != _checked_port(new):
            self._dirty.services.update(dict.fromkeys(concerned))
        elif policy_of(old) != policy_of(new) or owner_changes:
            self._dirty.claims.update(dict.fromkeys(concerned))
        for name in concerned:
            # which of the checks is in force may have changed, and where it probes
            self._dirty.backends.update((BackendKey(name, backend), None) for backend in self._own_checks.get(name, ()))

    def _under(self, ranges: Iterable[AddressRange]) -> Iterator[BackendKey]:
        for family, first, last in ranges:
            for _, service, backend in self._by_address[family].irange((first,), (last + 1,)):
                yield BackendKey(service, backend)

    def _resolve_service(self, service: Name) -> Iterator[Resolved]:
        frontend = self._frontends.get(service)
        wanted = virtual_servers(frontend, self._defaults) if frontend is not None else ()
        excluded = [v for v, _ in wanted if is_within(v.address, self._defaults.exclude)]
        claims = tuple((v, claim) for v, claim in wanted if v not in excluded)
        put(self._claims, service, claims or None)
        policy = policy_of(self._checks.in_force(service)) if claims else None
        objections = {v: reason for v, _ in claims if (reason := self._rules.objection(service, v))}
        yield ServiceResolved(service, claims, policy, frozenset(objections))
        reasons = [f"address {v.address} is in a range of --ipvs-exclude" for v in excluded]
        reasons += objections.values()
        yield from self._report(FrontendKey(service), reasons)
        yield from self._problems.report(HealthKey(service), self._check_problems(service) if claims else ())

    def _check_problems(self, service: Name) -> tuple[Problem, ...]:
        own_port = _checked_port(self._checks.in_force(service)) == 0
        if not own_port or marked_protocol(self._frontends[service]) in {None, Protocol.TCP}:
            return ()
        if self._checks.has_own(service):
            reason = "needs a port, as the service has no TCP port: its backends are not checked"
            return (conflict(path_of(HealthKey(service)), reason),)
        reason = "neither the service has a TCP port nor the default health check a port: its backends are not checked"
        return (Problem("configuration", path_of(FrontendKey(service)), "", reason, fatal=False),)

    def _resolve_backend(self, key: BackendKey) -> Iterator[Resolved]:
        backend = self._backends.get(key.service, {}).get(key.backend)
        members: list[tuple[VirtualServer, Member]] = []
        reasons: list[str] = []
        if backend is not None and key.service in self._claims:
            frontend, own = self._frontends[key.service], backend.health
            check = self._checks.in_force(key.service, own)
            policy = self._own_policy(key.service, own)
            # one object for all virtual servers of a family, to save memory
            endpoints = {f: endpoint(frontend, backend, check, f) for f in Family}
            routes = {Family.of(a): self._routes.lookup(a) for a in backend.addresses}
            for virtual, _ in self._claims[key.service]:
                family = virtual.family
                placement = place(virtual, frontend, backend, routes.get(family), self._defaults)
                if placement.reason:
                    reasons.append(placement.reason)
                if placement.real is not None:
                    members.append((virtual, Member(*placement.real, endpoints[family], backend.publisher, policy)))
            if policy is not None and members and not any(endpoints.values()):
                reasons.append("its health check needs a port, as there is no TCP port: it is not checked")
        yield BackendResolved(key.service, key.backend, tuple(members))
        yield from self._report(key, reasons)

    def _own_policy(self, service: Name, own: BackendCheck | None) -> HealthPolicy | None:
        """Return the policy of a backend's own check, None: it is not checked by one."""
        if own is None or own.check.type == "none" or not self._checks.is_own_in_force(service, own):
            return None
        return policy_of(own.check)

    def _route_problems(self, name: Name) -> list[str]:
        winner = self._routes.beaten_by(name)
        if winner is None:
            return []
        return [f"ignored: {escape(path_of(RouteKey(winner)))} has the same prefix and a lower name"]

    def _report(self, key: Key, reasons: list[str]) -> Iterator[ProblemsOf]:
        return self._problems.report(key, tuple(conflict(path_of(key), reason) for reason in dict.fromkeys(reasons)))


def _checked_port(check: HealthCheck | None) -> int | None:
    """Return the port of the backends that a check is for, 0: their own, None: nothing is checked."""
    return None if check is None or check.type == "none" else check.port
