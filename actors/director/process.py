"""The wiring of the director process."""

import logging
from collections.abc import Sequence
from ipaddress import ip_network

from actors.base.process import Host, Ref
from actors.director.backend_merger import BackendMerger
from actors.director.ipvs_writer import IpvsWriter, Options
from actors.director.route_resolver import RouteResolver
from actors.settings import Settings
from clusterf.director.readiness import longest_silence
from clusterf.director.removal_hold import HoldPolicy
from clusterf.host.interfaces import ShadowInterfaces
from clusterf.ipvs.kernel import Kernel, Unavailable
from clusterf.ipvs.netlink.client import open_kernel
from clusterf.ipvs.operation_log import log_prefix
from clusterf.ipvs.shadow import ShadowKernel
from clusterf.ipvs.table import METHODS, Table
from clusterf.lib.addresses import IPNetwork, is_within
from clusterf.lib.store import Store
from clusterf.reconcile.companions import Companion, Companions, VirtualServerCompanion
from clusterf.reconcile.hold_record import HoldRecord
from clusterf.reconcile.kept_record import KeptRecord
from clusterf.reconcile.lapse_record import LapseRecord
from clusterf.reconcile.ownership import Ownership
from clusterf.reconcile.record import Record
from clusterf.reconcile.sync_daemons import sync_keepers
from clusterf.reconcile.sysctls import SysctlKeeper
from clusterf.resolve.virtual_servers import Defaults
from clusterf.vip.announce import announce
from clusterf.vip.keeper import VipKeeper

__all__ = ["start"]

log = logging.getLogger(__name__)


def start(name: str, settings: Settings, host: Host) -> list[Ref]:
    """Start the actors, and return them in the order of the data flow. Raises Unavailable if IPVS cannot be used."""
    kernel = _noop_kernel() if settings.noop else open_kernel()
    # of its own, as it is read by another thread than that which writes
    reader = kernel if settings.noop else open_kernel()
    ours = Store(settings.director_file, read_only=settings.noop, elsewhere=settings.incomplete_directory(name))
    ownership = Ownership(ours)
    excluded = tuple(map(ip_network, settings.ipvs_exclude))
    recorded = {v: seconds for v, seconds in ownership.load().items() if not is_within(v.address, excluded)}
    companions = Companions(
        _keepers(settings, ours),
        _vip_keeper(settings, ours, excluded),
        noop=settings.noop,
        longest=settings.resync_interval,
    )
    writer = IpvsWriter.start(kernel, ownership, companions, _options(settings, excluded), host)
    merger = BackendMerger.start(
        writer,
        host.links,
        elide=settings.ipvs_elide,
        health=settings.health_names(),
        in_force=reader.read,
        find=reader.read_virtual,
        ours=None if settings.flush else recorded,
        # the rest of the time is for the writer
        patience=0.9 * settings.once_timeout if settings.once else None,
        silence=None if settings.once else longest_silence(settings.stuck_timeout),
        lapses=LapseRecord(Record(ours, "lapses")),
        held=HoldRecord(None if settings.once else Record(ours, "hold")),
        kept=KeptRecord(Record(ours, "kept")),
        hold=None if settings.once else HoldPolicy(settings.removal_hold, settings.hold_share, settings.hold_least),
    )
    resolver = RouteResolver.start(host.links, _defaults(settings, excluded), merger)
    return [resolver, merger, writer]


def _options(settings: Settings, excluded: tuple[IPNetwork, ...]) -> Options:
    return Options(
        noop=settings.noop,
        once=settings.once,
        once_timeout=settings.once_timeout,
        print_table=settings.print_table,
        flush=settings.flush,
        resync_interval=settings.resync_interval,
        excluded=excluded,
    )


def _defaults(settings: Settings, excluded: tuple[IPNetwork, ...]) -> Defaults:
    """Return the settings of the node that complete the configuration."""
    return Defaults(
        scheduler=settings.ipvs_scheduler,
        method=METHODS[settings.ipvs_forward_method],
        exclude=excluded,
        synced=bool(settings.ipvs_sync),
        strict_vips=settings.vip_policy == "strict",
    )


def _keepers(settings: Settings, ours: Store) -> list[Companion]:
    """Return the keepers of sysctls and sync daemons."""
    keepers: list[Companion] = []
    if settings.ipvs_sysctl:
        keepers.append(SysctlKeeper(dict(settings.ipvs_sysctl), noop=settings.noop))
    keepers += sync_keepers(settings.ipvs_sync, ours, noop=settings.noop)
    return keepers


def _vip_keeper(settings: Settings, ours: Store, excluded: Sequence[IPNetwork]) -> VirtualServerCompanion | None:
    """Return the keeper of VIP addresses; None if none are to be added, and none were added before."""
    record = Record(ours, "addresses")
    if settings.vip_interface is None and not any(True for _ in record.items()):
        return None
    # pyroute2 is large, and not needed without VIPs
    from clusterf.host.rtnetlink import RtnetlinkInterfaces  # noqa: PLC0415

    interfaces = RtnetlinkInterfaces()
    return VipKeeper(
        settings.vip_interface,
        record,
        ShadowInterfaces(interfaces) if settings.noop else interfaces,
        announce if not settings.noop else None,
        excluded=lambda address: is_within(address, excluded),
        noop=settings.noop,
    )


def _noop_kernel() -> Kernel:
    """Return a shadow of the kernel's table, or of an empty one if that cannot be read."""
    try:
        return ShadowKernel(_read_kernel())
    except (Unavailable, OSError) as error:
        log.warning("%s: cannot read the table, assuming an empty one: %s", log_prefix(noop=True), error)
        return ShadowKernel()


def _read_kernel() -> Table:
    """Read the kernel's table through a socket of its own. Raises Unavailable or OSError."""
    kernel = open_kernel()
    try:
        return kernel.read()
    finally:
        kernel.close()
