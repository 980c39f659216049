"""The wiring of a node: which actors live in which process, in the order of the data flow.

    config process                      director process (CAP_NET_ADMIN)
    FileWatcher ┬► ConfigPublisher ─┬──── config ────► RouteResolver ─► BackendMerger ─► IpvsWriter
    EtcdWatcher ┘                   │                         ◄╌╌╌╌╌╌╌╌╌╌╌╌ ▲ ◄╌╌╌╌╌╌╌╌╌╌╌╌
                                    │   health process (N of them)          │
                                    └──── config ────► HealthChecker ── health ──┘

With several health processes each has a shard of the endpoints, and their
links are `health1`, `health2` and so on. Links are socket pairs that the
supervisor makes (`links_of`).

Against the flow (◄╌) go two messages: `Credit`, that a frame of a link has
arrived at IpvsWriter and another one may follow, and `RemovalBegun`, with
virtual servers that the kernel no longer has, or is about to lose. An actor
introduces itself to the next one (`Upstream`) when it starts.

    docker process
    DockerWatcher ► KeyPublisher, or with --noop NoopPublisher

It has no link: it follows an engine, and publishes in etcd.

The actors of each process are started by `actors.<process>.process`, which
only that process imports.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple

from actors.base.process import Host, Process, Ref
from actors.settings import CONFIG, DIRECTOR, DOCKER, HEALTH, Settings
from clusterf.host.capabilities import CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW

__all__ = ["Link", "child_of", "children_of", "links_of"]


def children_of(settings: Settings) -> list[str]:
    """Return the names of the processes of a node, in the order of the data flow."""
    director = [CONFIG, *settings.health_names(), DIRECTOR] if "ipvs" in settings.roles else []
    return [*director, DOCKER] if "docker" in settings.roles else director


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
    """Return the process of that name, one of `children_of`."""
    package = HEALTH if name in settings.health_names() else name
    return Process(_CAPABILITIES[package](settings), partial(_start, package, name))


def _start(package: str, name: str, settings: Settings, host: Host) -> Sequence[Ref]:
    actors: Sequence[Ref] = import_module(f"actors.{package}.process").start(name, settings, host)
    return actors


def _reads_credentials(settings: Settings) -> frozenset[int]:
    # files with etcd's passwords and keys may be readable by their owner only
    del settings
    return frozenset([CAP_DAC_READ_SEARCH])


def _writes_kernel(settings: Settings) -> frozenset[int]:
    # addresses are announced in raw packets
    announces = settings.vip_interface is not None and not settings.noop
    return frozenset([CAP_NET_ADMIN, CAP_NET_RAW] if announces else [CAP_NET_ADMIN])


_CAPABILITIES: Mapping[str, Callable[[Settings], frozenset[int]]] = MappingProxyType(
    {
        CONFIG: _reads_credentials,
        DOCKER: _reads_credentials,
        HEALTH: lambda _: frozenset(),
        DIRECTOR: _writes_kernel,
    }
)
