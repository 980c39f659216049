"""From configuration to claims and members: the incremental resolver.

A frontend becomes *claims* on virtual servers; a backend becomes a *member* of
each virtual server that its service claims, as the real server that its route
says. The resolver is told single objects by key and answers with what became
of those that are concerned, so that one changed backend costs one look-up, a
changed frontend its service, and a changed route the backends under it. A
changed health check costs its service only where it changes who is probed, and
where; what of it is about the probes alone is not our concern.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from sortedcontainers import SortedList

from clusterf.config.keys import path_of
from clusterf.config.model import (
    Backend,
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
)
from clusterf.config.problems import Problem, ProblemsOf, conflict
from clusterf.director.routes import AddressRange, RouteTable
from clusterf.director.virtual_servers import Defaults, marked_protocol, virtual_servers
from clusterf.health.checks import Checks
from clusterf.health.targets import endpoint
from clusterf.ipvs.table import (
    METHODS,
    Method,
    RealServer,
    RealServerSettings,
    Tunnel,
    VirtualServer,
    VirtualServerSpec,
)
from clusterf.lib.addresses import Endpoint, Family, IPAddress, Protocol, is_within
from clusterf.lib.mapping import put

__all__ = ["BackendResolved", "HealthPolicy", "Member", "Resolved", "Resolver", "ServiceResolved"]


class Member(msgspec.Struct, frozen=True, gc=False):
    """A backend's part in a virtual server: the real server that it is, and how, with no heed to its health.

    `endpoint` is where it is probed; None: it is not, and counts in full.
    """

    real: RealServer
    settings: RealServerSettings
    endpoint: Endpoint | None = None


class HealthPolicy(NamedTuple):
    """What the health of a service's backends does.

    `stands`: a new backend counts before its first verdict. `removes`: what is
    down is left out, instead of drained. `panic_threshold`: when fewer than so
    many percent of the backends are up, health is ignored.
    """

    stands: bool
    removes: bool
    panic_threshold: float


class ServiceResolved(NamedTuple):
    """These virtual servers, and no others, are what the service claims; effect None: its health is not checked."""

    service: Name
    claims: tuple[tuple[VirtualServer, VirtualServerSpec], ...]
    effect: HealthPolicy | None = None


class BackendResolved(NamedTuple):
    """Of these virtual servers, and no others, the backend is a member."""

    service: Name
    backend: Name
    members: tuple[tuple[VirtualServer, Member], ...]


Resolved = ServiceResolved | BackendResolved | ProblemsOf


class Resolver:
    """Resolve objects as they come; `flush` tells what became of them."""

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self._frontends: dict[Name, Frontend] = {}
        self._backends: dict[Name, dict[Name, Backend]] = {}
        self._routes = RouteTable()
        # (address, service, backend) of each backend, to find those under a changed route
        self._at: dict[Family, SortedList] = {family: SortedList() for family in Family}
        self._checks = Checks()
        self._claims: dict[Name, tuple[tuple[VirtualServer, VirtualServerSpec], ...]] = {}
        # what the last answer had of problems, where it had some
        self._problems: dict[Key, tuple[Problem, ...]] = {}
        # what has changed since the last flush; dictionaries, as these keep the order
        self._dirty_services: dict[Name, None] = {}
        self._dirty_effects: dict[Name, None] = {}
        self._dirty_backends: dict[BackendKey, None] = {}
        self._dirty_routes: dict[RouteKey, None] = {}
        self._dirty_ranges: dict[AddressRange, None] = {}

    def update(self, key: Key, value: Value | None) -> None:
        """Take `value` for what `key` is now, None: it is no more."""
        match key:
            case FrontendKey(service):
                assert value is None or isinstance(value, Frontend)
                if put(self._frontends, service, value):
                    self._dirty_services[service] = None
            case BackendKey():
                assert value is None or isinstance(value, Backend)
                self._update_backend(key, value)
            case RouteKey(name):
                assert value is None or isinstance(value, Route)
                self._update_route(name, value)
            case HealthKey(service):
                assert value is None or isinstance(value, HealthCheck)
                self._update_check(service, value)

    def flush(self) -> Iterator[Resolved]:
        """Yield what became of all that changed since the last flush."""
        for service in self._dirty_effects | self._dirty_services:
            yield from self._resolve_service(service)
        for service in self._dirty_services:
            for backend in self._backends.get(service, ()):
                self._dirty_backends[BackendKey(service, backend)] = None
        for key in self._under(self._dirty_ranges):
            self._dirty_backends[key] = None
        for key in self._dirty_backends:
            yield from self._resolve_backend(key)
        for route in self._dirty_routes:
            yield from self._report(route, self._route_problems(route.route))
        self._dirty_services, self._dirty_effects, self._dirty_backends = {}, {}, {}
        self._dirty_routes, self._dirty_ranges = {}, {}

    def _update_backend(self, key: BackendKey, value: Backend | None) -> None:
        siblings = self._backends.setdefault(key.service, {})
        old = siblings.get(key.backend)
        changed = put(siblings, key.backend, value)
        if not siblings:
            del self._backends[key.service]
        if not changed:
            return
        for address in _addresses(old):
            self._at[Family.of(address)].remove((int(address), key.service, key.backend))
        for address in _addresses(value):
            self._at[Family.of(address)].add((int(address), key.service, key.backend))
        self._dirty_backends[key] = None

    def _update_route(self, name: Name, value: Route | None) -> None:
        concerned = self._routes.sharing(name)
        self._dirty_ranges.update(dict.fromkeys(self._routes.put(name, value)))
        concerned |= {name} | self._routes.sharing(name)
        self._dirty_routes.update(dict.fromkeys(map(RouteKey, sorted(concerned))))

    def _update_check(self, service: Name | None, value: HealthCheck | None) -> None:
        old, own = self._checks.in_force(service), self._checks.has_own(service)
        if not self._checks.update(service, value):
            return
        new = self._checks.in_force(service)
        if service is None:
            concerned = [name for name in self._frontends if not self._checks.has_own(name)]
            changes_hands = False
        else:
            concerned = [service] if service in self._frontends else []
            changes_hands = own != self._checks.has_own(service)  # whose it is decides how it is reported
        if _aim(old) != _aim(new):
            self._dirty_services.update(dict.fromkeys(concerned))
        elif _effect(old) != _effect(new) or changes_hands:
            self._dirty_effects.update(dict.fromkeys(concerned))

    def _under(self, ranges: Iterable[AddressRange]) -> Iterator[BackendKey]:
        for family, first, last in ranges:
            for _, service, backend in self._at[family].irange((first,), (last + 1,)):
                yield BackendKey(service, backend)

    def _resolve_service(self, service: Name) -> Iterator[Resolved]:
        frontend = self._frontends.get(service)
        wanted = virtual_servers(frontend, self._defaults) if frontend is not None else ()
        excluded = [v for v, _ in wanted if is_within(v.address, self._defaults.exclude)]
        claims = tuple((v, claim) for v, claim in wanted if v not in excluded)
        key = FrontendKey(service)
        reasons = [f"its address {v.address} is in a range that --ipvs-exclude leaves alone" for v in excluded]
        put(self._claims, service, claims or None)
        yield ServiceResolved(service, claims, _effect(self._checks.in_force(service)) if claims else None)
        yield from self._report(key, reasons)
        yield from self._say(HealthKey(service), self._check_problems(service) if claims else ())

    def _check_problems(self, service: Name) -> tuple[Problem, ...]:
        check = self._checks.in_force(service)
        if _aim(check) != 0 or marked_protocol(self._frontends[service]) in {None, Protocol.TCP}:
            return ()
        if self._checks.has_own(service):
            reason = "names no port, which it has to for a service without TCP: its backends are not checked"
            return (conflict(path_of(HealthKey(service)), reason),)
        reason = "the default health check names no port, so that the backends of a service without TCP are not checked"
        return (Problem("configuration", path_of(FrontendKey(service)), "", reason, fatal=False),)

    def _resolve_backend(self, key: BackendKey) -> Iterator[Resolved]:
        backend = self._backends.get(key.service, {}).get(key.backend)
        members: list[tuple[VirtualServer, Member]] = []
        reasons: list[str] = []
        if backend is not None and key.service in self._claims:
            frontend, check = self._frontends[key.service], self._checks.in_force(key.service)
            # one for all virtual servers of a family, as it is kept for each of them
            endpoints = {f: endpoint(frontend, backend, check, f) for f in Family} if check is not None else {}
            for virtual, _ in self._claims[key.service]:
                placed = self._place(virtual, frontend, backend, reasons)
                if placed is not None:
                    members.append((virtual, Member(*placed, endpoints.get(virtual.family))))
        yield BackendResolved(key.service, key.backend, tuple(members))
        yield from self._report(key, reasons)

    def _place(
        self, virtual: VirtualServer, frontend: Frontend, backend: Backend, reasons: list[str]
    ) -> tuple[RealServer, RealServerSettings] | None:
        address = backend.ipv4 if virtual.family is Family.IPV4 else backend.ipv6
        protocol = virtual.protocol or marked_protocol(frontend)
        port, listening = (end.port(protocol) if protocol is not None else 0 for end in (backend, frontend))
        if address is None or port is None:
            return None
        route = self._routes.lookup(address)
        if route is None:
            method, gateway, tunnel = self._defaults.method, None, Tunnel()
        elif route.method is None:
            return None
        else:
            method, gateway, tunnel = METHODS[route.method], route.gateway, route.tunnel
        if gateway is not None:
            other = Family.of(gateway) is not virtual.family
            if other and method is not Method.TUNNEL:
                reasons.append(f"left out: its route's gateway {gateway} is of the other family, which needs tunnel")
                return None
            if other and self._defaults.synced:
                # no reason to take away one that the kernel has
                reasons.append(f"its route's gateway {gateway} is of the other family, which --ipvs-sync rules out")
            real = RealServer(gateway, virtual.port)
        elif method is Method.MASQ:
            real = RealServer(address, port)
        else:
            if port != listening:
                reasons.append(f"port {port} counts as {listening}: {method.name.lower()} cannot change the port")
            real = RealServer(address, virtual.port)
        limits = backend.upper_threshold, backend.lower_threshold
        return real, RealServerSettings(method, backend.weight, *limits, tunnel)

    def _route_problems(self, name: Name) -> list[str]:
        winner = self._routes.beaten_by(name)
        if winner is None:
            return []
        return [f"ignored: {path_of(RouteKey(winner))!r} has the same prefix and the lower name"]

    def _report(self, key: Key, reasons: list[str]) -> Iterator[ProblemsOf]:
        return self._say(key, tuple(conflict(path_of(key), reason) for reason in dict.fromkeys(reasons)))

    def _say(self, key: Key, problems: tuple[Problem, ...]) -> Iterator[ProblemsOf]:
        if put(self._problems, key, problems or None):
            yield ProblemsOf(key, problems)


def _aim(check: HealthCheck | None) -> int | None:
    """Return which port of the backends a check is for, 0: their own, None: there is none, or nothing is checked."""
    return None if check is None or check.type == "none" else check.port


def _effect(check: HealthCheck | None) -> HealthPolicy | None:
    if check is None or check.type == "none":
        return None
    return HealthPolicy(check.initial == "up", check.on_down == "remove", check.panic_threshold)


def _addresses(end: Frontend | Backend | None) -> list[IPAddress]:
    return [] if end is None else [a for a in (end.ipv4, end.ipv6) if a is not None]
