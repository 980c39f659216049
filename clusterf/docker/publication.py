"""What one container or network publishes: keys and problems."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from clusterf.config.encode import to_json
from clusterf.config.keys import parse_key, path_of
from clusterf.config.model import BackendKey
from clusterf.config.problems import Problem
from clusterf.docker.addresses import Addressing, ContainerAddress, find_address
from clusterf.docker.containers import Container, Network
from clusterf.docker.labels import NO_RULES, LabelRules, Report, backends_at, network_label, parse
from clusterf.docker.routes import Routing, routes_of
from clusterf.lib.addresses import Protocol

__all__ = [
    "NOTHING",
    "Publication",
    "addresses_of",
    "container_address",
    "container_publication",
    "network_publication",
]


class Publication(NamedTuple):
    """JSON by path, and problems."""

    keys: dict[bytes, bytes]
    problems: tuple[Problem, ...]


NOTHING = Publication({}, ())


class _Addresses(msgspec.Struct):
    ipv4: str = ""
    ipv6: str = ""


def container_address(
    container: Container, addressing: Addressing, last: ContainerAddress | None
) -> ContainerAddress | None:
    """Return the address of a container, or its last one; `last` is what this returned before."""
    return find_address(container, network_label(container), addressing, last).address


def container_publication(
    container: Container,
    addressing: Addressing,
    last: ContainerAddress | None,
    *,
    stopping: bool,
    publisher: str | None = None,
    rules: LabelRules = NO_RULES,
) -> Publication:
    """Return what a container publishes; `last` is its last address, `publisher` the name of this node.

    `stopping`: it gets weight 0, whatever its state. One that has never run publishes nothing.
    """
    if not container.labels or not container.started_at:
        return NOTHING
    report = Report(container.name)
    found = find_address(container, network_label(container), addressing, last)
    labels = parse(container, report, rules, _ports(found.address))
    for problem in found.problems:
        report("network", problem.reason, fatal=problem.fatal)
    backends = backends_at(found.address, labels, report) if found.address is not None else {}
    if stopping or container.paused or container.health == "unhealthy" or not found.present:
        backends = {service: replace(backend, weight=0) for service, backend in backends.items()}
    return Publication(
        keys={_backend_path(s, container): to_json(replace(b, publisher=publisher)) for s, b in backends.items()},
        problems=report.problems,
    )


def addresses_of(keys: Mapping[bytes, bytes]) -> dict[str, set[str]]:
    """Return the addresses in such keys by the ids of containers; what is none of a container is left out."""
    found: dict[str, set[str]] = {}
    for path, value in keys.items():
        key = parse_key(path)
        if not isinstance(key, BackendKey):
            continue
        try:
            backend = msgspec.json.decode(value, type=_Addresses)
        except (ValueError, RecursionError, msgspec.DecodeError):
            continue
        found.setdefault(key.backend.decode(errors="replace"), set()).update({backend.ipv4, backend.ipv6} - {""})
    return found


def _ports(address: ContainerAddress | None) -> list[int] | None:
    """Return the TCP ports of the host that are a container's, None: it is not published at the host's address."""
    if address is None or address.published is None:
        return None
    return [end.host_port for end in address.published if end.protocol is Protocol.TCP]


def _backend_path(service: str, container: Container) -> bytes:
    return path_of(BackendKey(service.encode(), container.id.encode()))


def network_publication(network: Network, routing: Routing) -> Publication:
    """Return what a network publishes: its routes, if it is to be advertised."""
    routes = routes_of(network, routing)
    report = Report(network.name)
    if not routes and network.name in routing.networks:
        report("", "no subnet to advertise")
    return Publication(routes, report.problems)
