"""What IPVS holds: virtual servers, their real servers, and the steps that change them.

Identity and settings are separate types: `VirtualServer` and `RealServer` say
*which*, the settings say *how*, so that two tables are compared key by key.
The numbers are the kernel's (`include/uapi/linux/ip_vs.h`).
"""

from collections.abc import Iterable, Mapping
from enum import Enum, IntEnum, IntFlag
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from clusterf.lib.addresses import Family, IPAddress, Protocol

__all__ = [
    "METHODS",
    "SCHEDULERS",
    "SCHEDULER_FLAGS",
    "SINGLE_CLIENT",
    "ConnectionCount",
    "Method",
    "MethodName",
    "Op",
    "RealServer",
    "RealServerSettings",
    "ServiceFlag",
    "Step",
    "Table",
    "TableKey",
    "Tunnel",
    "TunnelChecksum",
    "TunnelType",
    "VirtualServer",
    "VirtualServerSettings",
    "VirtualServerSpec",
    "VirtualServerState",
    "table_of",
]


class Method(IntEnum):
    """How packets reach a real server (`IP_VS_CONN_F_*`)."""

    MASQ = 0
    LOCALNODE = 1
    TUNNEL = 2
    DROUTE = 3
    BYPASS = 4


MethodName = Literal["masq", "droute", "tunnel"]
"""The methods that a user may choose, by their names in the configuration."""

METHODS: Mapping[MethodName, Method] = MappingProxyType(
    {"masq": Method.MASQ, "droute": Method.DROUTE, "tunnel": Method.TUNNEL}
)


class TunnelType(IntEnum):
    """The protocol that wraps a tunnelled packet (`IP_VS_CONN_F_TUNNEL_TYPE_*`)."""

    IPIP = 0
    GUE = 1
    GRE = 2


class TunnelChecksum(IntEnum):
    """The checksum of the wrapping (`IP_VS_TUNNEL_ENCAP_FLAG_*`).

    REMCSUM: the receiver of GUE computes the checksum of the wrapped packet.
    """

    NONE = 0
    CSUM = 1
    REMCSUM = 2


class ServiceFlag(IntFlag):
    """Flags of a virtual server (`IP_VS_SVC_F_*`), without the kernel's own HASHED."""

    PERSISTENT = 0x1
    ONE_PACKET = 0x4
    SCHED_1 = 0x8
    SCHED_2 = 0x10
    SCHED_3 = 0x20


SCHEDULERS = frozenset(["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf"])

# The names that `ipvsadm -b` takes. A scheduler ignores flags that it does not know.
SCHEDULER_FLAGS = {
    "flag-1": ServiceFlag.SCHED_1,
    "flag-2": ServiceFlag.SCHED_2,
    "flag-3": ServiceFlag.SCHED_3,
    "sh-fallback": ServiceFlag.SCHED_1,
    "sh-port": ServiceFlag.SCHED_2,
    "mh-fallback": ServiceFlag.SCHED_1,
    "mh-port": ServiceFlag.SCHED_2,
}


class VirtualServer(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Which virtual server: (family, protocol, address, port), or (family, fwmark).

    With a `fwmark` other than 0 the protocol and the address are None and the
    port is 0.
    """

    family: Family
    protocol: Protocol | None = None
    address: IPAddress | None = None
    port: int = 0
    fwmark: int = 0

    def __str__(self) -> str:
        """Return a form for logs, such as `10.1.1.1:80/tcp`."""
        if self.protocol is None:
            return f"fwmark {self.fwmark}/{self.family.name.lower()}"
        host = f"[{self.address}]" if self.family is Family.IPV6 else str(self.address)
        return f"{host}:{self.port}/{self.protocol.name.lower()}"


class VirtualServerSettings(msgspec.Struct, frozen=True, gc=False):
    """How a virtual server balances.

    `timeout` is in seconds. `netmask` groups clients: for IPv4 the mask as a number,
    for IPv6 the prefix length. Both count only with `ServiceFlag.PERSISTENT`; without
    it they are 0 and `SINGLE_CLIENT`.
    """

    scheduler: str
    flags: ServiceFlag
    timeout: int
    netmask: int
    persistence_engine: str = ""


SINGLE_CLIENT: Mapping[Family, int] = MappingProxyType({Family.IPV4: 0xFFFFFFFF, Family.IPV6: 128})
"""The netmask that groups no clients."""


class RealServer(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Which real server of a virtual server: (address, port)."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        """Return a form for logs, such as `10.1.1.1:80`."""
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


class TableKey(NamedTuple):
    """A key of a table: a virtual server, or one of its real servers."""

    virtual: VirtualServer
    real: RealServer | None = None


class Tunnel(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How packets are wrapped on their way to a real server; plain IP in IP by default.

    `port` is the UDP port on which the real server receives GUE, 0 with another type.
    """

    type: TunnelType = TunnelType.IPIP
    port: int = 0
    checksum: TunnelChecksum = TunnelChecksum.NONE


class RealServerSettings(msgspec.Struct, frozen=True, gc=False):
    """How a real server is reached, and how many connections it gets.

    `upper` and `lower` are the connection thresholds, 0: none. `tunnel` counts
    only with `Method.TUNNEL`, and is the default without.
    """

    method: Method
    weight: int
    upper: int = 0
    lower: int = 0
    tunnel: Tunnel = Tunnel()


class Op(Enum):
    """What a step does; the value is the `ipvsadm` flag for it."""

    ADD_VIRTUAL = "-A"
    EDIT_VIRTUAL = "-E"
    REMOVE_VIRTUAL = "-D"
    ADD_REAL = "-a"
    EDIT_REAL = "-e"
    REMOVE_REAL = "-d"


class Step(msgspec.Struct, frozen=True):
    """One change of one virtual or real server.

    `settings` are the whole new settings (of the real server if `real` is
    set, else of the virtual server); None for a removal.
    """

    op: Op
    virtual: VirtualServer
    real: RealServer | None = None
    settings: VirtualServerSettings | RealServerSettings | None = None


class Table:
    """A table of virtual servers, each with its settings and its real servers.

    Mutable, because one changed real server among 100,000 must cost the same
    as one among 100. Its keys and values are frozen. Tables with equal contents are
    equal, whatever the order.
    """

    __slots__ = ("reals", "virtuals")

    def __init__(self) -> None:
        self.virtuals: dict[VirtualServer, VirtualServerSettings] = {}
        # has the same keys as `virtuals`
        self.reals: dict[VirtualServer, dict[RealServer, RealServerSettings]] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return self.virtuals == other.virtuals and self.reals == other.reals

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Table({self.virtuals!r}, {self.reals!r})"

    def __len__(self) -> int:
        """Return the number of virtual servers."""
        return len(self.virtuals)

    def put_virtual(self, virtual: VirtualServer, settings: VirtualServerSettings | None) -> None:
        """Add or edit a virtual server; with None remove it and all of its real servers."""
        if settings is None:
            self.virtuals.pop(virtual, None)
            self.reals.pop(virtual, None)
        else:
            self.virtuals[virtual] = settings
            self.reals.setdefault(virtual, {})

    def put_real(self, virtual: VirtualServer, real: RealServer, settings: RealServerSettings | None) -> None:
        """Add or edit a real server; with None remove it. Raises KeyError without its virtual server."""
        if settings is None:
            self.reals[virtual].pop(real, None)
        else:
            self.reals[virtual][real] = settings

    def apply(self, step: Step) -> None:
        """Apply one step. Raises KeyError if the virtual server of a real server is missing."""
        if step.real is None:
            assert not isinstance(step.settings, RealServerSettings)
            self.put_virtual(step.virtual, step.settings)
        else:
            assert not isinstance(step.settings, VirtualServerSettings)
            self.put_real(step.virtual, step.real, step.settings)

    def copy(self) -> "Table":
        """Return an independent table with the same contents."""
        return table_of((v, s, self.reals[v]) for v, s in self.virtuals.items())


def table_of(
    rows: Iterable[tuple[VirtualServer, VirtualServerSettings, Mapping[RealServer, RealServerSettings]]],
) -> Table:
    """Return the table with these virtual servers and their real servers."""
    table = Table()
    for virtual, settings, reals in rows:
        table.virtuals[virtual] = settings
        table.reals[virtual] = dict(reals)
    return table


class VirtualServerSpec(msgspec.Struct, frozen=True, gc=False):
    """How a service wants a virtual server. `drain_timeout` is in seconds."""

    settings: VirtualServerSettings
    drain_timeout: float


VirtualServerState = tuple[VirtualServerSettings, Mapping[RealServer, RealServerSettings]]
"""A virtual server as it is in the kernel."""


class ConnectionCount(NamedTuple):
    """The connections of a real server: `active` ones, and `inactive` ones, which are ending, have ended or are UDP."""

    active: int
    inactive: int
