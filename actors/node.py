"""The wiring of a node: which actors live in which process, in the order of the data flow.

    config process                      director process (CAP_NET_ADMIN)
    FileWatcher ┬► ConfigPublisher ─┬── config.sock ──► RouteResolver ► BackendMerger ► IpvsWriter
    EtcdWatcher ┘                   │                                        ▲
                                    │   health process (N of them)           │
                                    └── config.sock ──► HealthChecker ── health.sock

With several health processes each has a shard of the endpoints, and the
sockets are `health1.sock`, `health2.sock` and so on.

    docker process
    DockerWatcher ► KeyPublisher, or with --noop NoopPublisher

It has no socket: it follows an engine, and what it publishes goes to etcd.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

import pykka

from actors.backend_merger import BackendMerger
from actors.config_publisher import ConfigPublisher
from actors.file_watcher import FileWatcher
from actors.ipvs_writer import Host, IpvsWriter, Options
from actors.route_resolver import RouteResolver
from clusterf.announce import announce
from clusterf.fleet import Fleet
from clusterf.interface import RouteInterfaces, ShadowInterfaces
from clusterf.keeper import Follower, Keeper, Keepers
from clusterf.kernel import Kernel, ShadowKernel, Unavailable
from clusterf.netlink import open_kernel
from clusterf.ownership import Ownership
from clusterf.privileges import CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW
from clusterf.record import Record
from clusterf.settings import Settings
from clusterf.source import Source
from clusterf.state import KeyedStore
from clusterf.sync_daemons import sync_keepers
from clusterf.sysctls import Sysctls
from clusterf.table import Table, VirtualServer
from clusterf.targets import Targets, shard_of
from clusterf.vip_keeper import VipKeeper

__all__ = ["Child", "child_of"]

ETCD_LIST_INTERVAL = 300.0  # seconds between lists of a whole etcd, for what its watch may have missed

log = logging.getLogger(__name__)

Ref = pykka.ActorRef[Any]


class Child(NamedTuple):
    """One process of a node: the capabilities it keeps, and how its actors are started, the first in the flow first.

    `start` raises `Unavailable` with the reason why the node cannot do its work here at all.
    """

    capabilities: frozenset[int]
    start: Callable[[Settings, Host], Sequence[Ref]]


def _config(settings: Settings, host: Host) -> list[Ref]:
    del host
    publisher = ConfigPublisher.start(
        settings.sources, settings.filter_routes, Path(settings.runtime_dir, "config.sock")
    )
    watchers = [_watcher(number, source, settings, publisher) for number, source in enumerate(settings.sources)]
    return [*watchers, publisher]


def _watcher(number: int, source: Source, settings: Settings, publisher: Ref) -> Ref:
    state_file = _state_file(settings, "config.db")
    if source.etcd is not None:
        # what it is built on is large, and of no use to the others
        from actors.etcd_watcher import EtcdWatcher  # noqa: PLC0415

        return EtcdWatcher.start(number, source.url, source.etcd, state_file, ETCD_LIST_INTERVAL, publisher)
    assert source.tree is not None
    root = Path(source.tree)
    return FileWatcher.start(
        number, source.url, root, state_file, settings.resync_interval, publisher, once=settings.once
    )


def _director(settings: Settings, host: Host) -> list[Ref]:
    kernel = _noop_kernel() if settings.noop else open_kernel()
    ours = KeyedStore(_state_file(settings, "ipvs.db"), read_only=settings.noop)
    excluded = [ip_network(cidr, strict=False) for cidr in settings.ipvs_exclude]
    writer = IpvsWriter.start(
        lambda: kernel,
        lambda: Ownership(ours),
        partial(_within, excluded),
        Options(
            noop=settings.noop,
            once=settings.once,
            once_timeout=settings.once_timeout,
            print_table=settings.print_table,
            flush=settings.flush,
            resync_interval=settings.resync_interval,
            removal_hold=settings.removal_hold,
        ),
        host,
        Keepers(_keepers(settings, ours), _vip_keeper(settings, ours, excluded), noop=settings.noop),
    )
    merger = BackendMerger.start(
        writer,
        elide=settings.ipvs_elide,
        health=settings.health_sockets(),
        in_force=Table if settings.flush else kernel.read if settings.noop else _read_kernel,
        # what is left of the time is for what the writer has to do
        patience=0.9 * settings.once_timeout if settings.once else None,
    )
    resolver = RouteResolver.start(Path(settings.runtime_dir, "config.sock"), settings.defaults(), merger)
    return [resolver, merger, writer]


def _keepers(settings: Settings, ours: KeyedStore) -> list[Keeper]:
    """Return what keeps the rest of the kernel as the settings want it."""
    keepers: list[Keeper] = []
    if settings.ipvs_sysctl:
        keepers.append(Sysctls(dict(settings.ipvs_sysctl), noop=settings.noop))
    keepers += sync_keepers(settings.ipvs_sync, ours, noop=settings.noop)
    return keepers


def _vip_keeper(settings: Settings, ours: KeyedStore, excluded: Sequence[Any]) -> Follower | None:
    """Return what keeps the addresses of virtual servers, None where there is nothing to keep."""
    interfaces = RouteInterfaces()
    keeper = VipKeeper(
        settings.vip_interface,
        Record(ours, "addresses"),
        ShadowInterfaces(interfaces) if settings.noop else interfaces,
        announce if not settings.noop else None,
        excluded=lambda address: any(address in network for network in excluded),
        noop=settings.noop,
    )
    return None if keeper.idle else keeper


def _director_capabilities(settings: Settings) -> frozenset[int]:
    # addresses can only be announced in packets of one's own
    announces = settings.vip_interface is not None and not settings.noop
    return frozenset([CAP_NET_ADMIN, CAP_NET_RAW] if announces else [CAP_NET_ADMIN])


def _health(name: str, settings: Settings, host: Host) -> list[Ref]:
    # what they are built on is large, and of no use to the others
    from actors.health_checker import HealthChecker, Links  # noqa: PLC0415
    from clusterf.probes import Prober  # noqa: PLC0415
    from clusterf.verdicts import Verdicts  # noqa: PLC0415

    del host
    shard, shards = settings.health_names().index(name), settings.health_processes
    # what is to be applied once is to be known to hold now
    state_file = _state_file(settings, f"{name}.db") if not settings.once else None
    checker = HealthChecker.start(
        Links(Path(settings.runtime_dir, "config.sock"), settings.health_sockets()[shard]),
        Targets(shard, shards),
        settings.health_references,
        lambda: Verdicts(state_file, lambda at: shard_of(at, shards) == shard, read_only=settings.noop),
        Prober,
    )
    return [checker]


def _docker(settings: Settings, host: Host) -> list[Ref]:
    # what they are built on is large, and of no use to the others
    from actors.docker_watcher import DockerWatcher  # noqa: PLC0415
    from actors.key_publisher import KeyPublisher  # noqa: PLC0415
    from actors.noop_publisher import NoopPublisher  # noqa: PLC0415
    from clusterf.docker_engine import Engine, access_of  # noqa: PLC0415

    del host
    location = settings.published_to()
    assert location is not None
    lease_file = _state_file(settings, "docker.lease")
    publisher: Ref = (
        NoopPublisher.start(location)
        if settings.noop
        else KeyPublisher.start(location, settings.etcd_ttl, lease_file, leave_nothing=settings.exit_flush)
    )
    watcher = DockerWatcher.start(
        access_of(settings.docker_endpoint)["base_url"],
        lambda: Engine(settings.docker_endpoint),
        partial(Fleet, settings.addressing(), settings.routing()),
        lambda: KeyedStore(_state_file(settings, "docker.db"), read_only=settings.noop),
        settings.resync_interval,
        publisher,
    )
    return [watcher, publisher]


def _noop_kernel() -> Kernel:
    """Return a shadow of the kernel's table, of an empty one if that cannot be read."""
    try:
        return ShadowKernel(_read_kernel())
    except (Unavailable, OSError) as error:
        log.warning("ipvs noop: the table cannot be read and is taken as empty: %s", error)
        return ShadowKernel()


def _read_kernel() -> Table:
    """Return the kernel's table, read apart from its writer. Raises Unavailable or OSError."""
    kernel = open_kernel()
    try:
        return kernel.read()
    finally:
        kernel.close()


def _state_file(settings: Settings, name: str) -> Path | None:
    return Path(settings.state_dir, name) if settings.state_dir is not None else None


def _within(networks: Sequence[Any], virtual: VirtualServer) -> bool:
    return virtual.address is not None and any(virtual.address in network for network in networks)


def child_of(name: str, settings: Settings) -> Child:
    """Return the process of that name, one of `actors.roles.children_of`."""
    match name:
        case "config":
            return Child(frozenset([CAP_DAC_READ_SEARCH]), _config)
        case "director":
            return Child(_director_capabilities(settings), _director)
        case "docker":
            return Child(frozenset([CAP_DAC_READ_SEARCH]), _docker)
        case _:
            return Child(frozenset(), partial(_health, name))
