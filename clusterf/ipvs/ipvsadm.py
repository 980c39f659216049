"""Steps and tables as commands and output of `ipvsadm` (1.31).

A step is logged as the command that does the same, and a table is printed as
`ipvsadm -Sn` prints it, so that both can be read, compared and replayed.
"""

import socket
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from clusterf.ipvs.table import (
    SINGLE_CLIENT,
    Method,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualServer,
    VirtualServerSettings,
)
from clusterf.lib.addresses import Family, IPAddress, Protocol

__all__ = ["FLUSH", "command", "lines"]

FLUSH = "ipvsadm -C"
"""The command that removes every virtual server."""

_PROTOCOLS = {Protocol.TCP: "-t", Protocol.UDP: "-u", Protocol.SCTP: "--sctp-service"}

# "(null)" is what ipvsadm prints for a method for which it has no option.
_METHODS = {
    Method.MASQ: "-m",
    Method.LOCALNODE: "-g",
    Method.TUNNEL: "-i",
    Method.DROUTE: "-g",
    Method.BYPASS: "(null)",
}

_CHECKSUMS = {
    TunnelChecksum.NONE: "--tun-nocsum",
    TunnelChecksum.CSUM: "--tun-csum",
    TunnelChecksum.REMCSUM: "--tun-remcsum",
}

_SCHEDULER_FLAGS = (ServiceFlag.SCHED_1, ServiceFlag.SCHED_2, ServiceFlag.SCHED_3)
_FLAG_NAMES = ("flag-1", "flag-2", "flag-3")
# ipvsadm has no name for the third flag of these: it accepts "flag-3", but prints nothing.
_OWN_FLAG_NAMES = {"sh": ("sh-fallback", "sh-port"), "mh": ("mh-fallback", "mh-port")}


def command(step: Step) -> str:
    """Return the `ipvsadm` command that does the same as `step`."""
    text = f"ipvsadm {step.op.value} {_virtual(step.virtual)}"
    if step.real is not None:
        text += f" -r {_endpoint(step.real.address, step.real.port)}"
    match step.settings:
        case VirtualServerSettings():
            own = _OWN_FLAG_NAMES.get(step.settings.scheduler, ())
            text += _virtual_settings(step.virtual.family, step.settings, (*own, *_FLAG_NAMES[len(own) :]))
        case RealServerSettings():
            text += _real_options(step.settings)
    return text


def lines(table: Table) -> list[str]:
    """Return what `ipvsadm -Sn` prints of `table`, sorted bytewise.

    Without the connection thresholds, which ipvsadm does not print either.
    """
    found = [line for virtual, settings in table.virtuals.items() for line in _saved(virtual, settings, table)]
    return sorted(found)


def _saved(virtual: VirtualServer, settings: VirtualServerSettings, table: Table) -> Iterator[str]:
    name = _virtual(virtual, mark=_signed(virtual.fwmark))
    flag_names = _OWN_FLAG_NAMES.get(settings.scheduler, _FLAG_NAMES)
    yield f"-A {name}{_virtual_settings(virtual.family, settings, flag_names)}"
    yield from _saved_reals(name, table.reals[virtual])


def _saved_reals(name: str, reals: Mapping[RealServer, RealServerSettings]) -> Iterator[str]:
    for real, settings in reals.items():
        line = f"-a {name} -r {_endpoint(real.address, real.port)}{_real_settings(settings)}"
        yield f"{line}{_tunnel(settings.tunnel)}" if settings.method is Method.TUNNEL else line


@lru_cache(maxsize=4096)
def _virtual(virtual: VirtualServer, mark: int | None = None) -> str:
    """Return the options that name a virtual server; `mark` replaces its fwmark."""
    if virtual.protocol is None or virtual.address is None:
        text = f"-f {virtual.fwmark if mark is None else mark}"
        return f"{text} -6" if virtual.family is Family.IPV6 else text
    return f"{_PROTOCOLS[virtual.protocol]} {_endpoint(virtual.address, virtual.port)}"


def _signed(mark: int) -> int:
    """Return the 32 bits of `mark` as the signed number that `ipvsadm -S` prints."""
    return (mark ^ 1 << 31) - (1 << 31)


def _endpoint(address: IPAddress, port: int) -> str:
    """Return `address:port` as the C library writes it, from which str(address) differs for mapped addresses."""
    if address.version == 4:
        return f"{socket.inet_ntop(socket.AF_INET, address.packed)}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, address.packed)}]:{port}"


def _virtual_settings(family: Family, settings: VirtualServerSettings, flag_names: Iterable[str]) -> str:
    text = f" -s {settings.scheduler}"
    if settings.flags & ServiceFlag.PERSISTENT:
        text += f" -p {settings.timeout}"
        if settings.netmask != SINGLE_CLIENT[family]:
            text += f" -M {_netmask(family, settings.netmask)}"
    if settings.persistence_engine:
        text += f" --pe {settings.persistence_engine}"
    if settings.flags & ServiceFlag.ONE_PACKET:
        text += " -o"
    if any(settings.flags & flag for flag in _SCHEDULER_FLAGS):
        names = zip(_SCHEDULER_FLAGS, flag_names, strict=False)
        text += " -b " + ",".join(name for flag, name in names if settings.flags & flag)
    return text


def _netmask(family: Family, netmask: int) -> str:
    return socket.inet_ntoa(netmask.to_bytes(4, "big")) if family is Family.IPV4 else str(netmask)


@lru_cache(maxsize=4096)
def _real_options(settings: RealServerSettings) -> str:
    # without options ipvsadm makes an IP in IP tunnel, too
    tunnel = _tunnel(settings.tunnel) if settings.tunnel != Tunnel() else ""
    return _real_settings(settings) + _thresholds(settings) + tunnel


def _real_settings(settings: RealServerSettings) -> str:
    return f" {_METHODS[settings.method]} -w {settings.weight}"


def _tunnel(tunnel: Tunnel) -> str:
    text = f" --tun-type {tunnel.type.name.lower()}"
    if tunnel.type is TunnelType.IPIP:
        return text
    port = f" --tun-port {tunnel.port}" if tunnel.type is TunnelType.GUE else ""
    return f"{text}{port} {_CHECKSUMS[tunnel.checksum]}"


def _thresholds(settings: RealServerSettings) -> str:
    upper = f" -x {settings.upper}" if settings.upper else ""
    return f"{upper} -y {settings.lower}" if settings.lower else upper
