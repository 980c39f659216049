"""The real server of a backend in a virtual server, by its route."""

from typing import NamedTuple

from clusterf.config.model import Backend, Frontend, Route
from clusterf.ipvs.table import METHODS, Method, RealServer, RealServerSettings, Tunnel, VirtualServer
from clusterf.lib.addresses import Family, IPAddress
from clusterf.resolve.virtual_servers import Defaults, marked_protocol

__all__ = ["Placement", "place"]


class Placement(NamedTuple):
    """The real server of a backend in a virtual server, None if it has none there, and a problem to report, if any."""

    real: tuple[RealServer, RealServerSettings] | None
    reason: str = ""


def place(
    virtual: VirtualServer, frontend: Frontend, backend: Backend, route: Route | None, defaults: Defaults
) -> Placement:
    """Return the placement of `backend` in `virtual`; `route` is that of its address of the same family."""
    address = backend.address(virtual.family)
    protocol = virtual.protocol or marked_protocol(frontend)
    port, frontend_port = (end.port(protocol) if protocol is not None else 0 for end in (backend, frontend))
    if address is None or port is None or (route is not None and route.method is None):
        return Placement(None)
    method = METHODS[route.method] if route is not None and route.method is not None else defaults.method
    limits = backend.upper_threshold, backend.lower_threshold
    settings = RealServerSettings(method, backend.weight, *limits, route.tunnel if route is not None else Tunnel())
    if route is not None and route.gateway is not None:
        return _at_gateway(virtual, route.gateway, settings, defaults)
    if method is Method.MASQ:
        return Placement((RealServer(address, port), settings))
    reason = ""
    if port != frontend_port:
        reason = f"port {port} replaced by {frontend_port}: {method.name.lower()} cannot change the port"
    return Placement((RealServer(address, virtual.port), settings), reason)


def _at_gateway(
    virtual: VirtualServer, gateway: IPAddress, settings: RealServerSettings, defaults: Defaults
) -> Placement:
    reason = ""
    if Family.of(gateway) is not virtual.family:
        if settings.method is not Method.TUNNEL:
            return Placement(None, f"skipped: gateway {gateway} is of the other address family, which needs a tunnel")
        if defaults.synced:
            # reported only: the kernel may have this real server already
            reason = f"gateway {gateway} is of the other address family, which --ipvs-sync rules out"
    return Placement((RealServer(gateway, virtual.port), settings), reason)
