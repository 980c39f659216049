"""The wiring of a node: which actors live in which process, in the order of the data flow.

    config process                      director process (CAP_NET_ADMIN)
    FileWatcher ┬► ConfigPublisher ─┬──── config ────► RouteResolver ─► BackendMerger ─► IpvsWriter
    EtcdWatcher ┤                   │                         ◄╌╌╌╌╌╌╌╌╌╌╌╌ ▲ ◄╌╌╌╌╌╌╌╌╌╌╌╌
    Authorities-┘ ◄╌╌               │   health process (N of them)          │
    Watcher                         └──── config ────► HealthChecker ── health ──┘

With several health processes each has a shard of the endpoints, and their
links are `health1`, `health2` and so on. Links are socket pairs that the
supervisor makes (`links_of`).

Against the flow (◄╌) go three messages: `Credit`, that a frame of a link has
arrived at IpvsWriter and another one may follow, `RemovalBegun`, with
virtual servers that the kernel no longer has, or is about to lose, and `FileNamed`,
with a file of authorities that AuthoritiesWatcher is to read. An actor
introduces itself to the next one (`Upstream`) when it starts.

    docker process
    DockerWatcher ► KeyPublisher, or with --noop NoopPublisher

It has no link: it follows an engine, and publishes in etcd.

The actors of each process are started by `actors.<process>.process`, which
only that process imports.
"""

from collections.abc import Mapping
from importlib import import_module
from socket import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX
from types import MappingProxyType
from typing import Final, NamedTuple

from actors.base.process import Process
from actors.settings import CONFIG, DIRECTOR, DOCKER, HEALTH, Settings
from clusterf.host.capabilities import CAP_NET_ADMIN, CAP_NET_RAW
from clusterf.host.seccomp import Sockets

__all__ = ["Link", "child_of", "children_of", "dispensable_of", "links_of", "package_of"]


def children_of(settings: Settings) -> list[str]:
    """Return the names of the processes of a node, in the order of the data flow."""
    director = [CONFIG, *settings.health_names(), DIRECTOR] if "ipvs" in settings.roles else []
    return [*director, DOCKER] if "docker" in settings.roles else director


def dispensable_of(settings: Settings) -> frozenset[str]:
    """Return the names of the processes without which the others go on, once they were in order.

    A health process talks to anybody, and whoever takes it over must not be able to end the node: without it the
    verdicts stay as they are. A director goes on without the docker process that it shares a node with. Without the
    config process or the director nothing would be done, as without a docker process alone, or what `--once` is for.
    """
    if settings.once or "ipvs" not in settings.roles:
        return frozenset()
    return frozenset({*settings.health_names(), DOCKER})


class Link(NamedTuple):
    """A link of that name between two processes."""

    name: str
    publisher: str
    subscriber: str


def links_of(settings: Settings) -> list[Link]:
    """Return the links of a node. Those on which a process publishes have its name."""
    if "ipvs" not in settings.roles:
        return []
    health = settings.health_names()
    configuration = [Link(CONFIG, CONFIG, subscriber) for subscriber in (*health, DIRECTOR)]
    return [*configuration, *(Link(name, name, DIRECTOR) for name in health)]


def child_of(name: str, settings: Settings) -> Process:
    """Return the process of that name, one of `children_of`, and load its code."""
    package = package_of(name)
    start = import_module(f"actors.{package}.process").start
    # addresses are announced in raw packets
    announces = package == DIRECTOR and settings.vip_interface is not None and not settings.noop
    capabilities, sockets = _CAPABILITIES[package], _SOCKETS[package]
    if announces:
        capabilities |= {CAP_NET_RAW}
        sockets = sockets._replace(families=sockets.families | {AF_PACKET})
    return Process(capabilities, sockets, lambda settings, host: start(name, settings, host), package == HEALTH)


def package_of(name: str) -> str:
    """Return the package of `actors` that a process of that name runs, which names its kind."""
    return name.rstrip("0123456789")


_CAPABILITIES: Final[Mapping[str, frozenset[int]]] = MappingProxyType(
    {CONFIG: frozenset(), DOCKER: frozenset(), HEALTH: frozenset(), DIRECTOR: frozenset([CAP_NET_ADMIN])}
)
_NETLINK_ROUTE, _NETLINK_GENERIC = 0, 16  # linux/netlink.h
# for etcd or an engine, and to look names up
_CLIENT: Final = Sockets(frozenset([AF_UNIX, AF_INET, AF_INET6, AF_NETLINK]), frozenset([_NETLINK_ROUTE]))
_SOCKETS: Final[Mapping[str, Sockets]] = MappingProxyType(
    {
        CONFIG: _CLIENT,
        DOCKER: _CLIENT,
        HEALTH: Sockets(frozenset([AF_INET, AF_INET6])),
        DIRECTOR: _CLIENT._replace(netlink=frozenset([_NETLINK_ROUTE, _NETLINK_GENERIC])),
    }
)
