"""The virtual servers of a frontend, with their settings."""

from collections.abc import Iterator

import msgspec

from clusterf.config.model import Frontend
from clusterf.ipvs.table import (
    SCHEDULER_FLAGS,
    SINGLE_CLIENT,
    Method,
    ServiceFlag,
    VirtualServer,
    VirtualServerSettings,
    VirtualServerSpec,
)
from clusterf.lib.addresses import Family, IPNetwork, Protocol

__all__ = ["Defaults", "marked_protocol", "virtual_servers"]


class Defaults(msgspec.Struct, frozen=True):
    """Settings of the node that complete the configuration.

    Virtual servers with an address in `exclude` are never written. `synced`: the
    kernel synchronises connections, and so accepts no real server of the other
    family. `strict_vips`: a VIP that no key of `vips/` covers may be claimed by no service.
    """

    scheduler: str = "wlc"
    method: Method = Method.MASQ
    exclude: tuple[IPNetwork, ...] = ()
    synced: bool = False
    strict_vips: bool = False


def virtual_servers(frontend: Frontend, defaults: Defaults) -> tuple[tuple[VirtualServer, VirtualServerSpec], ...]:
    """Return the virtual servers of `frontend`, each with its settings."""
    return tuple(
        (v, VirtualServerSpec(_settings(v, frontend, defaults), frontend.drain_timeout)) for v in _named(frontend)
    )


def marked_protocol(frontend: Frontend) -> Protocol | None:
    """Return the protocol whose ports the real servers of a fwmark have; None: packets keep their port."""
    return next((p for p in Protocol if frontend.port(p) is not None), None)


def _named(frontend: Frontend) -> Iterator[VirtualServer]:
    for family in frontend.families:
        if frontend.fwmark is not None:
            yield VirtualServer(family, fwmark=frontend.fwmark)
            continue
        for protocol in Protocol:
            port = frontend.port(protocol)
            if port is not None:
                yield VirtualServer(family, protocol, frontend.address(family), port)


def _settings(virtual: VirtualServer, frontend: Frontend, defaults: Defaults) -> VirtualServerSettings:
    flags = ServiceFlag(0)
    for name in frontend.scheduler_flags:
        flags |= SCHEDULER_FLAGS[name]
    # the kernel has one-packet scheduling for UDP only
    if frontend.one_packet and virtual.protocol in {None, Protocol.UDP}:
        flags |= ServiceFlag.ONE_PACKET
    four = virtual.family is Family.IPV4
    timeout, netmask = 0, SINGLE_CLIENT[virtual.family]
    if frontend.persistence is not None:
        flags |= ServiceFlag.PERSISTENT
        timeout = frontend.persistence.timeout
        netmask = frontend.persistence.netmask4 if four else frontend.persistence.netmask6
    return VirtualServerSettings(frontend.scheduler or defaults.scheduler, flags, timeout, netmask)
