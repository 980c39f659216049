"""The rules from configuration to IPVS, computed from scratch, as a reference for the incremental code."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from clusterf.config.keys import path_of
from clusterf.config.model import (
    Backend,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthCheck,
    HealthKey,
    Key,
    Route,
    RouteKey,
    Value,
    VipKey,
)
from clusterf.ipvs.table import (
    SCHEDULER_FLAGS,
    Method,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Table,
    Tunnel,
    VirtualServer,
    VirtualServerSettings,
)
from clusterf.lib.addresses import Endpoint, Family, IPAddress, Protocol
from clusterf.resolve.virtual_servers import Defaults

__all__ = ["Configuration", "Model", "expected", "route_of"]

Configuration = Mapping[Key, Value]
Membership = tuple[bytes, bytes, VirtualServer, RealServer]
Forwarding = tuple[Method, Tunnel]


class Placed(NamedTuple):
    """Where a backend of a service serves in a virtual server, how packets get there, and where it is probed."""

    service: bytes
    backend: bytes
    virtual: VirtualServer
    real: RealServer
    forwarding: Forwarding
    endpoint: Endpoint | None

    @property
    def membership(self) -> Membership:
        return self[:4]


class Model:
    """Which members are in rotation, computed anew at each step from the step before, configuration and verdicts."""

    def __init__(self, defaults: Defaults, in_force: Table, *, elide: bool) -> None:
        self.defaults = defaults
        self.elide = elide
        self.in_force = in_force
        self.begun = False
        self.verdicts: dict[tuple[bytes, bytes, Endpoint], bool] = {}
        self.in_rotation: dict[Membership, bool] = {}
        self.in_rotation_before: dict[Membership, bool] = {}
        # the real servers that members were that were out when they left, and those of these that are back
        self.left: dict[tuple[bytes, bytes, VirtualServer], RealServer] = {}
        self.back: set[Membership] = set()
        # where backends were at the last step
        self.placed: dict[tuple[bytes, bytes, Family], list[Placed]] = {}
        # the services and families for which health is ignored
        self.panicking: set[tuple[bytes, Family]] = set()
        self.unknown = 0

    def begin(self) -> None:
        self.begun = True

    def step(self, configuration: Configuration) -> None:
        """Update the model to the configuration and the verdicts."""
        placed = list(_all_placed(configuration, self.defaults))
        self.panicking = _panicking(configuration, placed, self.verdicts) if self.begun else set()
        ends = {(p.service, p.backend, p.endpoint) for p in placed if p.endpoint is not None}
        self.unknown = len(ends - self.verdicts.keys())
        self._note_left(placed)
        self.in_rotation_before = self.in_rotation
        self.in_rotation = {p.membership: self._decide(configuration, p) for p in placed}
        self.placed = {}
        for one in placed:
            self.placed.setdefault((one.service, one.backend, one.virtual.family), []).append(one)

    def _note_left(self, placed: list[Placed]) -> None:
        self.back = {p.membership for p in placed if self.begun and self.left.get(p.membership[:3]) == p.real}
        there = {p.membership[:3] for p in placed}
        for membership, in_rotation in self.in_rotation.items():
            if self.begun and not in_rotation and membership[:3] not in there:
                self.left[membership[:3]] = membership[3]
        for member in there:
            self.left.pop(member, None)

    def _decide(self, configuration: Configuration, placed: Placed) -> bool:
        if placed.endpoint is None:
            # (in the laws no time goes by)
            moved = self._moved(placed)
            joins = placed.membership not in self.back if moved is None else moved
            return not self.begun or self.in_rotation.get(placed.membership, joins)
        first = self._at_first(configuration, placed)
        up = self.verdicts.get((placed.service, placed.backend, placed.endpoint))
        if up is not None:
            return up or (placed.service, placed.virtual.family) in self.panicking
        return self.in_rotation.get(placed.membership, first) if self.begun else first

    def _at_first(self, configuration: Configuration, placed: Placed) -> bool:
        if self.begun and placed.membership in self.in_rotation:
            return False
        moved = self._moved(placed)
        if moved is not None:
            return moved
        if placed.membership in self.back:
            return False
        present = None if self.begun else self.in_force.reals.get(placed.virtual, {}).get(placed.real)
        if present is not None:
            return present.weight > 0
        return _check(configuration, placed.service, placed.backend).initial == "up"

    def _moved(self, placed: Placed) -> bool | None:
        """Return whether the backend was in rotation where it comes from, None: it is new."""
        before = self.placed.get((placed.service, placed.backend, placed.virtual.family), ())
        moved = [p for p in before if self.begun and _is_same_address(p, placed)]
        here = [p for p in moved if p.virtual == placed.virtual]
        if any(_is_at_another_port(p, placed) for p in here):
            here, moved = [], [p for p in moved if p not in here]
        return any(self.in_rotation_before[p.membership] for p in here or moved) if moved else None


def _is_same_address(before: Placed, now: Placed) -> bool:
    """Tell whether a backend is at the same address; one that is not known is."""
    return before.endpoint is None or now.endpoint is None or before.endpoint.packed == now.endpoint.packed


def _is_at_another_port(before: Placed, now: Placed) -> bool:
    masqueraded = before.forwarding[0] is now.forwarding[0] is Method.MASQ
    return masqueraded and before.real.address == now.real.address and before.real.port != now.real.port


def expected(
    configuration: Configuration, defaults: Defaults, *, elide: bool = False, model: Model | None = None
) -> tuple[Table, set[bytes]]:
    """Return the table that `configuration` means, and the paths of the objects that are reported.

    Without a `model` all members are in rotation.
    """
    frontends = {k.service: v for k, v in configuration.items() if isinstance(k, FrontendKey)}
    routes = {k.route: v for k, v in configuration.items() if isinstance(k, RouteKey)}
    reported = {path_of(RouteKey(name)) for name in routes if _loses(routes, name)}
    reported |= _excluded(frontends, defaults) | _unprobeable(configuration, defaults)
    for service, virtual in _claims(configuration, defaults):
        for name, backend in _backends(configuration, service).items():
            place, is_reported = _place(virtual, frontends[service], backend, routes, defaults)
            if is_reported or (place is not None and _cannot_be_probed(configuration, service, name)):
                reported.add(path_of(BackendKey(service, name)))
    placed = list(_all_placed(configuration, defaults))
    first = _owners(configuration, defaults, placed, elide=False)
    reported |= {path_of(FrontendKey(s)) for s, virtual in _claims(configuration, defaults) if s != first.get(virtual)}
    table = Table()
    for virtual, owner in _owners(configuration, defaults, placed, elide=elide).items():
        meeting: dict[RealServer, list[Placed]] = {}
        for one in placed:
            if (one.service, one.virtual) == (owner, virtual):
                meeting.setdefault(one.real, []).append(one)
        table.put_virtual(virtual, _settings(virtual, frontends[owner], defaults))
        backends = _backends(configuration, owner)
        for real, group in meeting.items():
            group.sort(key=lambda one: one.backend)
            forwarding = group[0].forwarding
            reported |= {path_of(BackendKey(owner, one.backend)) for one in group if one.forwarding != forwarding}
            counting = [backends[p.backend] for p in group if model is None or model.in_rotation[p.membership]]
            settings = _merge(forwarding, counting or [backends[p.backend] for p in group], counts=bool(counting))
            check = _check(configuration, owner)
            removed = not counting and check is not None and check.on_down == "remove"
            table.put_real(virtual, real, None if removed else settings)
    return table, reported


def _claims(configuration: Configuration, defaults: Defaults) -> Iterator[tuple[bytes, VirtualServer]]:
    for key, frontend in configuration.items():
        if isinstance(key, FrontendKey):
            for virtual in _virtuals(frontend):
                if virtual.address is None or not any(virtual.address in net for net in defaults.exclude):
                    yield key.service, virtual


def _owners(
    configuration: Configuration, defaults: Defaults, placed: list[Placed], *, elide: bool
) -> dict[VirtualServer, bytes]:
    claims: dict[VirtualServer, list[bytes]] = {}
    for service, virtual in _claims(configuration, defaults):
        if _may_own(configuration, defaults, service, virtual):
            claims.setdefault(virtual, []).append(service)
    owners = {virtual: min(services) for virtual, services in claims.items()}
    filled = {(one.virtual, one.service) for one in placed}
    return {virtual: owner for virtual, owner in owners.items() if not elide or (virtual, owner) in filled}


def _may_own(configuration: Configuration, defaults: Defaults, service: bytes, virtual: VirtualServer) -> bool:
    rules = [value for key, value in configuration.items() if isinstance(key, VipKey)]
    covering = [rule for rule in rules if virtual.address is not None and virtual.address in rule.prefix]
    if not covering:
        return not defaults.strict_vips
    longest = max(rule.prefix.prefixlen for rule in covering)
    patterns = [p for rule in covering if rule.prefix.prefixlen == longest for p in rule.services]
    return any(fnmatchcase(service.decode(), pattern) for pattern in patterns)


def _excluded(frontends: Mapping[bytes, Frontend], defaults: Defaults) -> set[bytes]:
    return {
        path_of(FrontendKey(service))
        for service, frontend in frontends.items()
        for virtual in _virtuals(frontend)
        if virtual.address is not None and any(virtual.address in net for net in defaults.exclude)
    }


def _all_placed(configuration: Configuration, defaults: Defaults) -> Iterator[Placed]:
    frontends = {k.service: v for k, v in configuration.items() if isinstance(k, FrontendKey)}
    routes = {k.route: v for k, v in configuration.items() if isinstance(k, RouteKey)}
    for service, virtual in _claims(configuration, defaults):
        for name, backend in _backends(configuration, service).items():
            check = _check(configuration, service, name)
            place, _ = _place(virtual, frontends[service], backend, routes, defaults)
            if place is not None:
                probed = _endpoint(frontends[service], backend, check, virtual.family)
                yield Placed(service, name, virtual, *place, probed)


def _own_check(configuration: Configuration, service: bytes, name: bytes) -> HealthCheck | None:
    own = configuration[BackendKey(service, name)].health
    others = {"operator": (), "label": (HealthKey(service),), "invalid": (HealthKey(service), HealthKey(None))}
    return None if own is None or any(key in configuration for key in others[own.origin]) else own.check


def _check(configuration: Configuration, service: bytes, backend: bytes | None = None) -> HealthCheck | None:
    """Return the check of a backend, or with None that of its service."""
    own = _own_check(configuration, service, backend) if backend is not None else None
    return own or configuration.get(HealthKey(service), configuration.get(HealthKey(None)))


def _cannot_be_probed(configuration: Configuration, service: bytes, name: bytes) -> bool:
    """Tell whether a backend's own check lacks a port."""
    check = _own_check(configuration, service, name)
    if check is None or check.type == "none" or check.port:
        return False
    return _has_no_tcp(configuration[FrontendKey(service)]) or configuration[BackendKey(service, name)].tcp is None


def _has_no_tcp(frontend: Frontend) -> bool:
    return frontend.tcp is None and (frontend.udp is not None or frontend.sctp is not None)


def _endpoint(frontend: Frontend, backend: Backend, check: HealthCheck | None, family: Family) -> Endpoint | None:
    address = backend.ipv4 if family == Family.IPV4 else backend.ipv6
    if check is None or check.type == "none" or address is None:
        return None
    port = check.port or (None if _has_no_tcp(frontend) else backend.tcp)
    return Endpoint(address.packed, port) if port else None


def _unprobeable(configuration: Configuration, defaults: Defaults) -> set[bytes]:
    found = set()
    for service, _ in _claims(configuration, defaults):
        check = _check(configuration, service)
        if check is None or check.type == "none" or check.port or not _has_no_tcp(configuration[FrontendKey(service)]):
            continue
        own = HealthKey(service) in configuration
        found.add(path_of(HealthKey(service) if own else FrontendKey(service)))
    return found


def _panicking(
    configuration: Configuration, placed: list[Placed], verdicts: Mapping[tuple[bytes, bytes, Endpoint], bool]
) -> set[tuple[bytes, Family]]:
    found = set()
    for service, family in {(p.service, p.virtual.family) for p in placed if p.endpoint is not None}:
        probed = {
            (p.service, p.backend, p.endpoint)
            for p in placed
            if p.endpoint is not None and (p.service, p.virtual.family) == (service, family)
        }
        up = sum(verdicts.get(key) is not False for key in probed)
        check = _check(configuration, service)
        if check is not None and up / len(probed) * 100 < check.panic_threshold:
            found.add((service, family))
    return found


def _loses(routes: Mapping[bytes, Route], name: bytes) -> bool:
    return any(rival < name and _networks(routes[rival]) & _networks(routes[name]) for rival in routes)


def _backends(configuration: Configuration, service: bytes) -> dict[bytes, Backend]:
    return {k.backend: v for k, v in configuration.items() if isinstance(k, BackendKey) and k.service == service}


def route_of(routes: Mapping[bytes, Route], address: IPAddress) -> Route | None:
    """Return the route that `address` takes."""
    matches = [
        (-length, name)
        for name, route in routes.items()
        for family, number, length in _networks(route)
        if family == address.version and int(address) >> (address.max_prefixlen - length) == number
    ]
    return routes[min(matches)[1]] if matches else None


def _networks(route: Route) -> set[tuple[int, int, int]]:
    if route.prefix is None:
        return {(4, 0, 0), (6, 0, 0)}
    net = route.prefix
    return {(net.version, int(net.network_address) >> (net.max_prefixlen - net.prefixlen), net.prefixlen)}


def _virtuals(frontend: Frontend) -> list[VirtualServer]:
    ends = [(Family.IPV4, frontend.ipv4), (Family.IPV6, frontend.ipv6)]
    ends = [(family, address) for family, address in ends if address is not None]
    if frontend.fwmark is not None:
        families = [family for family, _ in ends] or [Family.IPV4]
        return [VirtualServer(family, None, None, 0, frontend.fwmark) for family in families]
    ports = [(Protocol.TCP, frontend.tcp), (Protocol.UDP, frontend.udp), (Protocol.SCTP, frontend.sctp)]
    return [VirtualServer(f, p, a, port) for f, a in ends for p, port in ports if port is not None]


def _settings(virtual: VirtualServer, frontend: Frontend, defaults: Defaults) -> VirtualServerSettings:
    flags = sum({SCHEDULER_FLAGS[name] for name in frontend.scheduler_flags})
    if frontend.one_packet and virtual.protocol not in (Protocol.TCP, Protocol.SCTP):
        flags |= 4
    timeout, mask4, mask6 = 0, 2**32 - 1, 128
    if frontend.persistence:
        flags |= 1
        timeout, mask4, mask6 = (
            frontend.persistence.timeout,
            frontend.persistence.netmask4,
            frontend.persistence.netmask6,
        )
    mask = mask4 if virtual.family == Family.IPV4 else mask6
    return VirtualServerSettings(frontend.scheduler or defaults.scheduler, ServiceFlag(flags), timeout, mask)


def _place(
    virtual: VirtualServer, frontend: Frontend, backend: Backend, routes: Mapping[bytes, Route], defaults: Defaults
) -> tuple[tuple[RealServer, Forwarding] | None, bool]:
    """Return where the backend serves and how packets get there, and whether it is reported."""
    address = backend.ipv4 if virtual.family == Family.IPV4 else backend.ipv6
    if virtual.protocol is not None:
        named = virtual.protocol.name.lower()
    else:
        named = next((name for name in ("tcp", "udp", "sctp") if getattr(frontend, name) is not None), "")
    theirs, ours = (getattr(backend, named), getattr(frontend, named)) if named else (0, 0)
    if address is None or theirs is None:
        return None, False
    route = route_of(routes, address)
    if route is None:
        gateway, method, tunnel = None, defaults.method, Tunnel()
    elif route.method is None:
        return None, False
    else:
        gateway, method, tunnel = route.gateway, Method[route.method.upper()], route.tunnel
    other = gateway is not None and gateway.version != address.version
    if other and method is not Method.TUNNEL:
        return None, True
    if gateway is not None:
        return (RealServer(gateway, virtual.port), (method, tunnel)), other and defaults.synced
    if method is Method.MASQ:
        return (RealServer(address, theirs), (method, tunnel)), False
    return (RealServer(address, virtual.port), (method, tunnel)), theirs != ours


def _merge(forwarding: Forwarding, backends: list[Backend], *, counts: bool) -> RealServerSettings:
    uppers, lowers = [b.upper_threshold for b in backends], [b.lower_threshold for b in backends]
    upper = 0 if 0 in uppers else min(sum(uppers), 2**31 - 1)
    lower = 0 if 0 in lowers else min(sum(lowers), 2**31 - 1)
    weight = min(sum(b.weight for b in backends), 65535) if counts else 0
    method, tunnel = forwarding
    return RealServerSettings(method, weight, upper, lower, tunnel)
