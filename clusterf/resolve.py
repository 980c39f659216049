"""From configuration to claims and members: the incremental resolver.

A frontend becomes *claims* on virtual servers; a backend becomes a *member* of
each virtual server that its service claims, as the real server that its route
says. The resolver is told single objects by key and answers with what became
of those that are concerned, so that one changed backend costs one look-up, a
changed frontend its service, and a changed route the backends under it.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import msgspec
from sortedcontainers import SortedList

from clusterf.codec import Problem
from clusterf.keys import path_of
from clusterf.model import (
    Backend,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthKey,
    IPNetwork,
    Key,
    Name,
    Route,
    RouteKey,
    Value,
)
from clusterf.routes import AddressRange, RouteTable
from clusterf.table import (
    SCHEDULER_FLAGS,
    Family,
    IPAddress,
    Method,
    Protocol,
    RealServer,
    ServiceFlag,
    VirtualServer,
    VirtualServerSettings,
)

__all__ = ["BackendResolved", "Claim", "Defaults", "Member", "ProblemsOf", "Resolved", "Resolver", "ServiceResolved"]

K = TypeVar("K")
V = TypeVar("V")

_METHODS = {"masq": Method.MASQ, "droute": Method.DROUTE, "tunnel": Method.TUNNEL}


class Defaults(msgspec.Struct, frozen=True):
    """What the node adds to the configuration.

    Virtual servers with an address in `exclude` are never ours.
    """

    scheduler: str = "wlc"
    method: Method = Method.MASQ
    exclude: tuple[IPNetwork, ...] = ()


class Claim(msgspec.Struct, frozen=True, gc=False):
    """How a service wants a virtual server. `drain_timeout` is in seconds."""

    settings: VirtualServerSettings
    drain_timeout: float


class Member(msgspec.Struct, frozen=True, gc=False):
    """A backend's part in a virtual server. The thresholds are connections, 0: none."""

    real: RealServer
    method: Method
    weight: int
    upper: int
    lower: int


class ServiceResolved(NamedTuple):
    """These virtual servers, and no others, are what the service claims."""

    service: Name
    claims: tuple[tuple[VirtualServer, Claim], ...]


class BackendResolved(NamedTuple):
    """Of these virtual servers, and no others, the backend is a member."""

    service: Name
    backend: Name
    members: tuple[tuple[VirtualServer, Member], ...]


class ProblemsOf(NamedTuple):
    """These problems, and no others, `subject` has at present."""

    subject: object
    problems: tuple[Problem, ...]


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
        self._claims: dict[Name, tuple[tuple[VirtualServer, Claim], ...]] = {}
        # what the last answer had of problems, where it had some
        self._problems: dict[Key, tuple[Problem, ...]] = {}
        # what has changed since the last flush; dictionaries, as these keep the order
        self._dirty_services: dict[Name, None] = {}
        self._dirty_backends: dict[BackendKey, None] = {}
        self._dirty_routes: dict[RouteKey, None] = {}
        self._dirty_ranges: dict[AddressRange, None] = {}

    def update(self, key: Key, value: Value | None) -> None:
        """Take `value` for what `key` is now, None: it is no more."""
        match key:
            case FrontendKey(service):
                assert value is None or isinstance(value, Frontend)
                if _put(self._frontends, service, value):
                    self._dirty_services[service] = None
            case BackendKey():
                assert value is None or isinstance(value, Backend)
                self._update_backend(key, value)
            case RouteKey(name):
                assert value is None or isinstance(value, Route)
                self._update_route(name, value)
            case HealthKey():
                pass

    def flush(self) -> Iterator[Resolved]:
        """Yield what became of all that changed since the last flush."""
        for service in self._dirty_services:
            yield from self._resolve_service(service)
            for backend in self._backends.get(service, ()):
                self._dirty_backends[BackendKey(service, backend)] = None
        for key in self._under(self._dirty_ranges):
            self._dirty_backends[key] = None
        for key in self._dirty_backends:
            yield from self._resolve_backend(key)
        for route in self._dirty_routes:
            yield from self._report(route, self._route_problems(route.route))
        self._dirty_services, self._dirty_backends, self._dirty_routes, self._dirty_ranges = {}, {}, {}, {}

    def _update_backend(self, key: BackendKey, value: Backend | None) -> None:
        siblings = self._backends.setdefault(key.service, {})
        old = siblings.get(key.backend)
        changed = _put(siblings, key.backend, value)
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

    def _under(self, ranges: Iterable[AddressRange]) -> Iterator[BackendKey]:
        for family, first, last in ranges:
            for _, service, backend in self._at[family].irange((first,), (last + 1,)):
                yield BackendKey(service, backend)

    def _resolve_service(self, service: Name) -> Iterator[Resolved]:
        frontend = self._frontends.get(service)
        wanted = virtual_servers(frontend, self._defaults) if frontend is not None else ()
        excluded = [v for v, _ in wanted if _within(v.address, self._defaults.exclude)]
        claims = tuple((v, claim) for v, claim in wanted if v not in excluded)
        key = FrontendKey(service)
        reasons = [f"its address {v.address} is in a range that --ipvs-exclude leaves alone" for v in excluded]
        _put(self._claims, service, claims or None)
        yield ServiceResolved(service, claims)
        yield from self._report(key, reasons)

    def _resolve_backend(self, key: BackendKey) -> Iterator[Resolved]:
        backend = self._backends.get(key.service, {}).get(key.backend)
        members: list[tuple[VirtualServer, Member]] = []
        reasons: list[str] = []
        if backend is not None:
            frontend = self._frontends.get(key.service)
            for virtual, _ in self._claims.get(key.service, ()):
                assert frontend is not None
                member = self._member(virtual, frontend, backend, reasons)
                if member is not None:
                    members.append((virtual, member))
        yield BackendResolved(key.service, key.backend, tuple(members))
        yield from self._report(key, reasons)

    def _member(
        self, virtual: VirtualServer, frontend: Frontend, backend: Backend, reasons: list[str]
    ) -> Member | None:
        address = backend.ipv4 if virtual.family is Family.IPV4 else backend.ipv6
        protocol = virtual.protocol or marked_protocol(frontend)
        port, listening = (end.port(protocol) if protocol is not None else 0 for end in (backend, frontend))
        if address is None or port is None:
            return None
        route = self._routes.lookup(address)
        if route is None:
            method, gateway = self._defaults.method, None
        elif route.method is None:
            return None
        else:
            method, gateway = _METHODS[route.method], route.gateway
        if gateway is not None:
            if Family.of(gateway) is not virtual.family and method is not Method.TUNNEL:
                reasons.append(f"left out: its route's gateway {gateway} is of the other family, which needs tunnel")
                return None
            real = RealServer(gateway, virtual.port)
        elif method is Method.MASQ:
            real = RealServer(address, port)
        else:
            if port != listening:
                reasons.append(f"port {port} counts as {listening}: {method.name.lower()} cannot change the port")
            real = RealServer(address, virtual.port)
        return Member(real, method, backend.weight, backend.upper_threshold, backend.lower_threshold)

    def _route_problems(self, name: Name) -> list[str]:
        winner = self._routes.beaten_by(name)
        if winner is None:
            return []
        return [f"ignored: {path_of(RouteKey(winner))!r} has the same prefix and the lower name"]

    def _report(self, key: Key, reasons: list[str]) -> Iterator[ProblemsOf]:
        problems = tuple(conflict(path_of(key), reason) for reason in dict.fromkeys(reasons))
        if _put(self._problems, key, problems or None):
            yield ProblemsOf(key, problems)


def conflict(path: bytes, reason: str) -> Problem:
    """Return the problem of an object that is right in itself but not beside the others."""
    return Problem(source="configuration", path=path, field="", reason=reason, fatal=True)


def virtual_servers(frontend: Frontend, defaults: Defaults) -> tuple[tuple[VirtualServer, Claim], ...]:
    """Return the virtual servers that `frontend` names, each as it wants it."""
    addresses = [(Family.of(a), a) for a in _addresses(frontend)]
    if frontend.fwmark is not None:
        families = [family for family, _ in addresses] or [Family.IPV4]
        virtuals = [VirtualServer(family, fwmark=frontend.fwmark) for family in families]
    else:
        virtuals = [
            VirtualServer(family, protocol, address, port)
            for family, address in addresses
            for protocol in Protocol
            if (port := frontend.port(protocol)) is not None
        ]
    return tuple((v, Claim(_settings(v, frontend, defaults), frontend.drain_timeout)) for v in virtuals)


def marked_protocol(frontend: Frontend) -> Protocol | None:
    """Return whose ports the real servers of a fwmark have: the first protocol named, None: the packet's own port."""
    return next((p for p in Protocol if frontend.port(p) is not None), None)


def _settings(virtual: VirtualServer, frontend: Frontend, defaults: Defaults) -> VirtualServerSettings:
    flags = ServiceFlag(0)
    for name in frontend.scheduler_flags:
        flags |= SCHEDULER_FLAGS[name]
    # the kernel knows one-packet scheduling for UDP only
    if frontend.one_packet and virtual.protocol in {None, Protocol.UDP}:
        flags |= ServiceFlag.ONE_PACKET
    four = virtual.family is Family.IPV4
    timeout, netmask = 0, 0xFFFFFFFF if four else 128
    if frontend.persistence is not None:
        flags |= ServiceFlag.PERSISTENT
        timeout = frontend.persistence.timeout
        netmask = frontend.persistence.netmask4 if four else frontend.persistence.netmask6
    return VirtualServerSettings(frontend.scheduler or defaults.scheduler, flags, timeout, netmask)


def _addresses(end: Frontend | Backend | None) -> list[IPAddress]:
    return [] if end is None else [a for a in (end.ipv4, end.ipv6) if a is not None]


def _within(address: IPAddress | None, networks: tuple[IPNetwork, ...]) -> bool:
    return address is not None and any(address in network for network in networks)


def _put(mapping: dict[K, V], key: K, value: V | None) -> bool:
    """Set `key`, or remove it with None; tell whether that changed anything."""
    if mapping.get(key) == value:
        return False
    if value is None:
        del mapping[key]
    else:
        mapping[key] = value
    return True
