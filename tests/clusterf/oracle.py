"""The rules from configuration to IPVS, done anew and plainly, to hold the incremental code against."""

from collections.abc import Mapping

from clusterf.keys import path_of
from clusterf.model import Backend, BackendKey, Frontend, FrontendKey, Key, Route, RouteKey, Value
from clusterf.resolve import Defaults
from clusterf.table import (
    SCHEDULER_FLAGS,
    Family,
    IPAddress,
    Method,
    Protocol,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Table,
    VirtualServer,
    VirtualServerSettings,
)

__all__ = ["Configuration", "expected", "route_of"]

Configuration = Mapping[Key, Value]


def expected(configuration: Configuration, defaults: Defaults, *, elide: bool = False) -> tuple[Table, set[bytes]]:
    """Return the table that `configuration` means, and the paths of the objects that are reported."""
    frontends = {k.service: v for k, v in configuration.items() if isinstance(k, FrontendKey)}
    routes = {k.route: v for k, v in configuration.items() if isinstance(k, RouteKey)}
    reported = {path_of(RouteKey(name)) for name in routes if _loses(routes, name)}
    claims: dict[VirtualServer, list[bytes]] = {}
    for service, frontend in frontends.items():
        for virtual in _virtuals(frontend):
            if virtual.address is not None and any(virtual.address in net for net in defaults.exclude):
                reported.add(path_of(FrontendKey(service)))
            else:
                claims.setdefault(virtual, []).append(service)
    table = Table()
    for virtual, services in claims.items():
        owner = min(services)
        reported |= {path_of(FrontendKey(service)) for service in services if service != owner}
        for service in services:
            backends = _backends(configuration, service)
            meeting: dict[RealServer, list[tuple[bytes, Method]]] = {}
            for name, backend in backends.items():
                place, trouble = _place(virtual, frontends[service], backend, routes, defaults)
                if trouble:
                    reported.add(path_of(BackendKey(service, name)))
                if place is not None:
                    meeting.setdefault(place[0], []).append((name, place[1]))
            if service != owner or (elide and not meeting):
                continue
            table.put_virtual(virtual, _settings(virtual, frontends[service], defaults))
            for real, group in meeting.items():
                group.sort()
                reported |= {path_of(BackendKey(service, n)) for n, method in group if method is not group[0][1]}
                table.put_real(virtual, real, _merge(group[0][1], [backends[n] for n, _ in group]))
    return table, reported


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
) -> tuple[tuple[RealServer, Method] | None, bool]:
    """Return where the backend serves and by which method, and whether it is reported."""
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
        gateway, method = None, defaults.method
    elif route.method is None:
        return None, False
    else:
        gateway, method = route.gateway, Method[route.method.upper()]
    if gateway is not None and gateway.version != address.version and method is not Method.TUNNEL:
        return None, True
    if gateway is not None:
        return (RealServer(gateway, virtual.port), method), False
    if method is Method.MASQ:
        return (RealServer(address, theirs), method), False
    return (RealServer(address, virtual.port), method), theirs != ours


def _merge(method: Method, backends: list[Backend]) -> RealServerSettings:
    uppers, lowers = [b.upper_threshold for b in backends], [b.lower_threshold for b in backends]
    upper = 0 if 0 in uppers else min(sum(uppers), 2**32 - 1)
    lower = 0 if 0 in lowers else min(sum(lowers), 2**32 - 1)
    return RealServerSettings(method, min(sum(b.weight for b in backends), 65535), upper, lower)
