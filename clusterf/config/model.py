"""The objects of the configuration: frontends, backends, routes, health checks, and who may claim which VIPs.

Frozen values, one class per kind of key below the configuration's prefix.
What a field may hold is checked once, when `clusterf.config.decode` builds the
value; the rest of the code relies on it. Names of
services, backends and routes are bytes: a name may hold any byte but `/`.
"""

import sys
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from clusterf.ipvs.table import MethodName, Tunnel
from clusterf.lib.addresses import Family, IPAddress, IPNetwork, Protocol

__all__ = [
    "ADDRESS_PROTOCOLS",
    "MAX_THRESHOLD",
    "MAX_TIMEOUT",
    "MIN_INTERVAL",
    "NO_BODY",
    "TAG",
    "Backend",
    "BackendCheck",
    "BackendKey",
    "CheckOrigin",
    "Frontend",
    "FrontendKey",
    "HealthCheck",
    "HealthKey",
    "Key",
    "Name",
    "Persistence",
    "Port",
    "Route",
    "RouteKey",
    "Tls",
    "Value",
    "VipKey",
    "VipRule",
]

TAG = "kind"
"""The field that distinguishes values of different types on a link; no object of the configuration has such a field."""

Name = bytes
Port = Annotated[int, Meta(ge=1, le=65535)]
Weight = Annotated[int, Meta(ge=0, le=65535)]
MAX_THRESHOLD = 2**31 - 1  # connections; ipvsadm and newer kernels refuse more
Threshold = Annotated[int, Meta(ge=0, le=MAX_THRESHOLD)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Count = Annotated[int, Meta(ge=1, le=1000)]
MIN_INTERVAL = 0.1  # seconds from one probe of a backend to the next, at least
MAX_TIMEOUT = 300.0  # seconds that a probe may take
NO_BODY = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "TRACE"})
"""The methods of requests without a body: a server that does not expect one may take it for another request."""


class FrontendKey(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """The key `services/SERVICE/frontend`."""

    service: Name


class BackendKey(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """The key `services/SERVICE/backends/BACKEND`."""

    service: Name
    backend: Name


class HealthKey(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """The key `services/SERVICE/health`, or `health` where service is None."""

    service: Name | None


class RouteKey(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The key `routes/ROUTE`."""

    route: Name


class VipKey(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """The key `vips/NAME`."""

    name: Name


Key = FrontendKey | BackendKey | HealthKey | RouteKey | VipKey


class Persistence(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Clients stay with their real server for `timeout` seconds.

    `netmask4` (the mask as a number) and `netmask6` (the prefix length) group
    clients that stay together.
    """

    timeout: Annotated[int, Meta(ge=1, le=31 * 86400)] = 300
    netmask4: Annotated[int, Meta(ge=1, le=0xFFFFFFFF)] = 0xFFFFFFFF
    netmask6: Annotated[int, Meta(ge=1, le=128)] = 128


class AddressesAndPorts(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The fields that frontends and backends share."""

    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    tcp: Port | None = None
    udp: Port | None = None
    sctp: Port | None = None

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Its addresses, IPv4 first."""
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)

    def address(self, family: Family) -> IPAddress | None:
        """Return the address of `family`, None where it has none."""
        return self.ipv4 if family is Family.IPV4 else self.ipv6

    def port(self, protocol: Protocol) -> int | None:
        """Return the port of `protocol`, None where it has none."""
        if protocol is Protocol.TCP:
            return self.tcp
        return self.udp if protocol is Protocol.UDP else self.sctp


class Frontend(AddressesAndPorts, frozen=True, omit_defaults=True, tag_field=TAG, tag=1, gc=False):
    """A service's VIP and ports, and how IPVS balances them.

    `scheduler` None: the node's own. `drain_timeout` is in seconds.
    """

    fwmark: Annotated[int, Meta(ge=1, le=0xFFFFFFFF)] | None = None
    scheduler: str | None = None
    scheduler_flags: tuple[str, ...] = ()
    persistence: Persistence | None = None
    one_packet: bool = False
    drain_timeout: Annotated[float, Meta(ge=0, le=86400)] = 30.0

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of the virtual servers that it names."""
        if self.fwmark is None and all(self.port(protocol) is None for protocol in Protocol):
            return ()
        return tuple(map(Family.of, self.addresses)) or ((Family.IPV4,) if self.fwmark is not None else ())


class Route(msgspec.Struct, frozen=True, omit_defaults=True, tag_field=TAG, tag=4, gc=False):
    """How backends under a prefix are reached.

    Without a prefix it is the default route of both families. `method` None:
    backends under it are left out. At most one prefix and one gateway is set.
    `tunnel` has its neutral value unless the method is `tunnel`.
    """

    prefix4: IPv4Network | None = None
    prefix6: IPv6Network | None = None
    gateway4: IPv4Address | None = None
    gateway6: IPv6Address | None = None
    method: MethodName | None = None
    tunnel: Tunnel = Tunnel()

    @property
    def prefix(self) -> IPNetwork | None:
        """The prefix, None for the default route."""
        return self.prefix4 or self.prefix6

    @property
    def gateway(self) -> IPAddress | None:
        """The address of the real server, instead of that of the backend; None: that of the backend."""
        return self.gateway4 or self.gateway6


class VipRule(msgspec.Struct, frozen=True, omit_defaults=True, tag_field=TAG, tag=5, gc=False):
    """Addresses under a prefix are claimed only by services that match one of these patterns.

    Exactly one prefix is set. The patterns are those of `clusterf.lib.patterns`; without any, no service matches.
    """

    prefix4: IPv4Network | None = None
    prefix6: IPv6Network | None = None
    services: tuple[str, ...] = ()

    @property
    def prefix(self) -> IPNetwork | None:
        """The prefix."""
        return self.prefix4 or self.prefix6


class Tls(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How an `https` check verifies the backend's certificate.

    `server_name` empty: the check's host, else the address. `ca`: PEM file of
    the authorities to trust; empty: the system's.
    """

    verify: bool = True
    server_name: str = ""
    ca: str = ""


class HealthCheck(msgspec.Struct, frozen=True, omit_defaults=True, tag_field=TAG, tag=3, gc=False):
    """How the backends of a service are probed.

    `interval`, `timeout` and `fast_interval` are in seconds, `jitter` is a
    share of the interval, `panic_threshold` is in percent. `status` are the
    inclusive ranges of good HTTP status codes. `expect` is a part of a good
    body, `expect_regex` (RE2) matches one; empty: any body is good. At most
    `redirects` redirects are followed. `source4` and `source6` are addresses
    to probe from, None: as the kernel's routes say.
    """

    type: Literal["none", "tcp", "http", "https"] = "tcp"
    path: str = "/"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    method: str = "GET"
    host: str = ""
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    expect: str = ""
    expect_regex: str = ""
    redirects: Annotated[int, Meta(ge=0, le=10)] = 0
    source4: IPv4Address | None = None
    source6: IPv6Address | None = None
    tls: Tls = Tls()
    interval: Seconds = 5.0
    timeout: Seconds = 2.0
    rise: Count = 2
    fall: Count = 3
    fast_interval: Seconds = 1.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1
    initial: Literal["up", "down"] = "down"
    panic_threshold: Annotated[float, Meta(ge=0, le=100)] = 0.0
    on_down: Literal["drain", "remove"] = "drain"


CheckOrigin = Literal["operator", "label", "invalid"]
"""Who says how a backend is checked. "invalid": somebody does, but in a way that is no check."""


class BackendCheck(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A check of a backend's own; what comes before it and after it: see `clusterf.health.checks`."""

    check: HealthCheck = HealthCheck()
    origin: CheckOrigin = "operator"


@lru_cache(maxsize=1024)
def _shared(own: BackendCheck) -> BackendCheck:
    """Return the same object for equal checks, as thousands of containers may have the labels of one image."""
    return own


class Backend(AddressesAndPorts, frozen=True, omit_defaults=True, tag_field=TAG, tag=2, gc=False):
    """One instance: its addresses, ports and weight.

    `upper_threshold` and `lower_threshold` are connections, 0: none. `publisher`: the
    node that has published it, None: none has. `health`: how it is checked, None: as its service says.
    """

    weight: Weight = 10
    upper_threshold: Threshold = 0
    lower_threshold: Threshold = 0
    publisher: str | None = None
    health: BackendCheck | None = None

    def __post_init__(self) -> None:
        """Share the publisher's name and the check with other backends that have the same, as there may be many."""
        if self.publisher is not None:
            msgspec.structs.force_setattr(self, "publisher", sys.intern(self.publisher))
        if self.health is not None:
            msgspec.structs.force_setattr(self, "health", _shared(self.health))


Value = Frontend | Backend | HealthCheck | Route | VipRule
ADDRESS_PROTOCOLS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
