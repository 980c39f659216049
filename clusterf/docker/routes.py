"""From a host's networks to the routes by which directors reach their containers.

A network may be that of several hosts, as an overlay is. Then each of them has a route to it,
by itself as the gateway: the first one under the network's id, each further one under a name of its own.
"""

from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Final
from urllib.parse import quote

import msgspec

from clusterf.config.encode import to_json
from clusterf.config.keys import parse_key, path_of
from clusterf.config.model import Route, RouteKey
from clusterf.docker.containers import Network
from clusterf.ipvs.table import MethodName
from clusterf.lib.addresses import IPNetwork

__all__ = ["Routing", "route_of_node", "routes_of"]

_LONGEST: Final = 128  # characters of a node's name that are part of a key


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


def route_of_node(path: bytes, node: str) -> bytes | None:
    """Return where a node publishes a route if another node has one at `path`; None: `path` is no route.

    No two nodes, nor two routes, have the same: the node's name is quoted as in URLs, also where it
    begins as what follows a network's id, and one that is too long is replaced by its hash.
    """
    key = parse_key(path)
    if not isinstance(key, RouteKey):
        return None
    name = quote(node, safe="")
    if len(name) > _LONGEST:
        name = f"%{sha256(node.encode(errors='surrogateescape')).hexdigest()}"
    elif name.startswith(("ipv6", *"0123456789")):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return path_of(RouteKey(key.route + b"-" + name.encode()))
