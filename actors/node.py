"""The wiring of a node: which actors live in which process, in the order of the data flow.

    config process                      director process (CAP_NET_ADMIN)
    FileWatcher ┬► ConfigPublisher ──── config.sock ──► RouteResolver ► BackendMerger ► IpvsWriter
    EtcdWatcher ┘

The places of what is to come: a health process publishes verdicts at
`health.sock`, which BackendMerger subscribes to as RouteResolver does to the
configuration; the docker process follows an engine and writes to etcd.
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
from clusterf.kernel import Kernel, ShadowKernel, Unavailable
from clusterf.netlink import open_kernel
from clusterf.ownership import Ownership
from clusterf.privileges import CAP_DAC_READ_SEARCH, CAP_NET_ADMIN
from clusterf.settings import Settings
from clusterf.source import Source
from clusterf.state import KeyedStore
from clusterf.table import VirtualServer

__all__ = ["CHILDREN", "Child"]

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
    return FileWatcher.start(number, source.url, Path(source.tree), state_file, settings.resync_interval, publisher)


def _director(settings: Settings, host: Host) -> list[Ref]:
    kernel = _noop_kernel() if settings.noop else open_kernel()
    excluded = [ip_network(cidr, strict=False) for cidr in settings.ipvs_exclude]
    writer = IpvsWriter.start(
        lambda: kernel,
        lambda: Ownership(KeyedStore(_state_file(settings, "ipvs.db"), read_only=settings.noop)),
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
    )
    merger = BackendMerger.start(writer, elide=settings.ipvs_elide)
    resolver = RouteResolver.start(Path(settings.runtime_dir, "config.sock"), settings.defaults(), merger)
    return [resolver, merger, writer]


def _noop_kernel() -> Kernel:
    """Return a shadow of the kernel's table, of an empty one if that cannot be read."""
    try:
        kernel = open_kernel()
        try:
            return ShadowKernel(kernel.read())
        finally:
            kernel.close()
    except (Unavailable, OSError) as error:
        log.warning("ipvs noop: the table cannot be read and is taken as empty: %s", error)
        return ShadowKernel()


def _state_file(settings: Settings, name: str) -> Path | None:
    return Path(settings.state_dir, name) if settings.state_dir is not None else None


def _within(networks: Sequence[Any], virtual: VirtualServer) -> bool:
    return virtual.address is not None and any(virtual.address in network for network in networks)


CHILDREN = {
    "config": Child(frozenset([CAP_DAC_READ_SEARCH]), _config),
    "director": Child(frozenset([CAP_NET_ADMIN]), _director),
}
