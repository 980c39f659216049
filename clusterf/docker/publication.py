"""What a container or a network makes: keys, checks, and problems."""

from typing import NamedTuple

import msgspec

from clusterf.config.keys import path_of
from clusterf.config.model import BackendKey, HealthKey
from clusterf.config.problems import Problem
from clusterf.docker.addresses import Addressing, ContainerAddress, find
from clusterf.docker.check_offers import Offer
from clusterf.docker.containers import Container, Network
from clusterf.docker.labels import Report, encode, located, network_label, parse
from clusterf.docker.routes import Routing, routes_of

__all__ = ["NOTHING", "Publication", "place_of", "what_container_makes", "what_network_makes"]


class Publication(NamedTuple):
    """JSON by path; checks by path, for where there is none; and what is wrong."""

    keys: dict[bytes, bytes]
    checks: dict[bytes, Offer]
    problems: tuple[Problem, ...]


NOTHING = Publication({}, {}, ())


def place_of(container: Container, addressing: Addressing, last: ContainerAddress | None) -> ContainerAddress | None:
    """Return where a container can be reached, or could be last; `last` is what this returned before."""
    return find(container, network_label(container), addressing, last).place


def what_container_makes(
    container: Container, addressing: Addressing, last: ContainerAddress | None, *, ends: bool
) -> Publication:
    """Return what a container makes; `ends`: it takes no new connections, whatever it seems.

    One that has never run makes nothing.
    """
    if not container.labels or not container.started_at:
        return NOTHING
    report = Report(container.name)
    labels = parse(container, report)
    found = find(container, network_label(container), addressing, last)
    for flaw in found.flaws:
        report("network", flaw.reason, fatal=flaw.fatal)
    backends = located(labels, found.place, report) if found.place is not None else {}
    if ends or container.paused or container.health == "unhealthy" or not found.present:
        backends = {service: msgspec.structs.replace(backend, weight=0) for service, backend in backends.items()}
    offer = Offer(container.started_at, container.id, labels.check) if labels.check is not None else None
    return Publication(
        keys={path_of(BackendKey(s.encode(), container.id.encode())): encode(b) for s, b in backends.items()},
        checks={path_of(HealthKey(s.encode())): offer for s in backends} if offer is not None else {},
        problems=report.problems,
    )


def what_network_makes(network: Network, routing: Routing) -> Publication:
    """Return what a network makes."""
    routes = routes_of(network, routing)
    report = Report(network.name)
    if not routes and network.name in routing.networks:
        report("", "the network has no subnet to advertise")
    return Publication(routes, {}, report.problems)
