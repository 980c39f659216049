"""From a host's networks to the routes by which directors reach their containers."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import msgspec

from clusterf.config.encode import to_json
from clusterf.config.keys import path_of
from clusterf.config.model import Route, RouteKey
from clusterf.docker.containers import Network
from clusterf.ipvs.table import MethodName
from clusterf.lib.addresses import IPNetwork

__all__ = ["Routing", "routes_of"]


class Routing(msgspec.Struct, frozen=True):
    """The networks, by name, that a node advertises, and how directors reach them.

    The gateways are the host's addresses; None: directors are connected to the
    networks themselves. `method` None: directors leave out the backends there.
    """

    networks: frozenset[str] = frozenset()
    gateway4: IPv4Address | None = None
    gateway6: IPv6Address | None = None
    method: MethodName | None = None


def routes_of(network: Network, routing: Routing) -> dict[bytes, bytes]:
    """Return the JSON of a network's routes by path; none if it is not to be advertised.

    They are named after the network's id: ID, or with both families ID and
    ID-ipv6; further subnets of a family get a number, from 2 on.
    """
    if network.name not in routing.networks:
        return {}
    routes: dict[bytes, bytes] = {}
    for version in (4, 6):
        family = [prefix for prefix in network.prefixes if prefix.version == version]
        base = f"{network.id}-ipv6" if routes else network.id
        for number, prefix in enumerate(family, 1):
            name = base if number == 1 else f"{base}-{number}"
            routes[path_of(RouteKey(name.encode()))] = to_json(_route(prefix, routing))
    return routes


def _route(prefix: IPNetwork, routing: Routing) -> Route:
    if isinstance(prefix, IPv4Network):
        return Route(prefix4=prefix, gateway4=routing.gateway4, method=routing.method)
    return Route(prefix6=prefix, gateway6=routing.gateway6, method=routing.method)
