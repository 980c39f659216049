"""The measured configuration as values: the table, and the steps that create it."""

from collections.abc import Iterator
from ipaddress import IPv4Address

from clusterf.ipvs.table import (
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    VirtualServer,
    VirtualServerSettings,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol
from tests.bench.trees import PORT, VIP_PORT, WEIGHT, Shape, address, vip

__all__ = ["real_server", "settings", "steps_of", "table", "virtual_server"]

_VIRTUAL_SETTINGS = VirtualServerSettings("wlc", ServiceFlag(0), 0, 0xFFFFFFFF)


def virtual_server(service: int) -> VirtualServer:
    """Return the virtual server of a service."""
    return VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address(vip(service)), VIP_PORT)


def real_server(service: int, backend: int) -> RealServer:
    """Return the real server of a backend."""
    return RealServer(IPv4Address(address(service, backend)), PORT)


def settings(weight: int) -> RealServerSettings:
    """Return the settings of a real server of that weight."""
    return RealServerSettings(Method.MASQ, weight)


def table(shape: Shape) -> Table:
    """Return the whole table."""
    reals = settings(WEIGHT)
    return table_of(
        (virtual_server(s), _VIRTUAL_SETTINGS, {real_server(s, b): reals for b in range(shape.backends)})
        for s in range(shape.services)
    )


def steps_of(whole: Table) -> Iterator[Step]:
    """Yield the steps from an empty table to this one."""
    for virtual, how in whole.virtuals.items():
        yield Step(Op.ADD_VIRTUAL, virtual, settings=how)
        for real, weight in whole.reals[virtual].items():
            yield Step(Op.ADD_REAL, virtual, real, weight)
