"""Values drawn from pools so small that names, addresses, prefixes and claims collide all the time."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from hypothesis import strategies as st
from msgspec.structs import replace

from clusterf.config.model import (
    Backend,
    BackendCheck,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthCheck,
    HealthKey,
    Persistence,
    Route,
    RouteKey,
    VipKey,
    VipRule,
)
from clusterf.ipvs.table import (
    Method,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualServer,
    VirtualServerSettings,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol
from clusterf.resolve.virtual_servers import Defaults

PORTS = st.none() | st.sampled_from([80, 81])
IPV4 = st.sampled_from([IPv4Address(a) for a in ("10.0.0.1", "10.0.0.2", "10.1.0.1", "192.0.2.1")])
IPV6 = st.sampled_from([IPv6Address(a) for a in ("fd00::1", "fd00::2", "fd00:1::1", "2001:db8::1")])
VIP4 = st.sampled_from([IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2"), IPv4Address("203.0.113.1")])
EXCLUDED = (IPv4Network("203.0.113.0/24"), IPv6Network("fd00:ffff::/32"))

frontends = st.builds(
    Frontend,
    ipv4=st.none() | VIP4,
    ipv6=st.none() | st.sampled_from([IPv6Address("fd00:ff::1"), IPv6Address("fd00:ffff::1")]),
    tcp=PORTS,
    udp=PORTS,
    sctp=PORTS,
    fwmark=st.sampled_from([None, None, None, 1]),
    scheduler=st.sampled_from([None, "rr"]),
    scheduler_flags=st.sampled_from([(), ("sh-port",), ("sh-port", "flag-2", "flag-1")]),
    persistence=st.none() | st.builds(Persistence, timeout=st.just(60), netmask4=st.just(0xFFFFFF00)),
    one_packet=st.booleans(),
    drain_timeout=st.sampled_from([0.0, 30.0]),
)
checks = st.builds(
    HealthCheck,
    type=st.sampled_from(["tcp", "tcp", "http", "none"]),
    port=st.sampled_from([0, 0, 80]),
    interval=st.sampled_from([1.0, 2.0]),
    timeout=st.just(1.0),
    initial=st.sampled_from(["up", "down"]),
    panic_threshold=st.sampled_from([0.0, 0.0, 34.0, 50.0, 100.0]),
    on_down=st.sampled_from(["drain", "remove"]),
)
own_checks = st.none() | st.none() | st.builds(BackendCheck, checks, st.sampled_from(["operator", "label"]))
thresholds = st.sampled_from([(0, 0), (0, 0), (9, 0), (9, 5), (2**31 - 1, 2**30)])
backends = st.builds(
    lambda ipv4, ipv6, tcp, udp, sctp, weight, limits, *rest: Backend(
        ipv4, ipv6, tcp, udp, sctp, weight, *limits, *rest
    ),
    *(st.none() | IPV4, st.none() | IPV6, PORTS, PORTS, PORTS),
    *(st.sampled_from([0, 1, 10, 65535]), thresholds, st.sampled_from([None, None, "a", "b"]), own_checks),
)
# with a check that is invalid
unclear_backends = backends.map(lambda backend: replace(backend, health=BackendCheck(origin="invalid")))
PREFIXES = st.sampled_from(
    [
        *({"prefix4": IPv4Network(p)} for p in ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.1/32")),
        *({"prefix6": IPv6Network(p)} for p in ("::/0", "fd00::/16", "fd00::/32", "fd00::1/128")),
        *({}, {}),
    ]
)
GATEWAYS = st.sampled_from(
    [
        *({}, {}),
        *({"gateway4": IPv4Address(a)} for a in ("10.0.0.2", "192.0.2.254")),
        *({"gateway6": IPv6Address(a)} for a in ("fd00::2", "2001:db8::254")),
    ]
)
TUNNELS = (Tunnel(), Tunnel(TunnelType.GUE, 6080), Tunnel(TunnelType.GRE, 0, TunnelChecksum.CSUM))
routes = st.builds(
    lambda prefix, gateway, how: Route(**prefix, **gateway, **how),
    *(PREFIXES, GATEWAYS),
    st.sampled_from([None, "masq", "droute"]).map(lambda method: {"method": method})
    | st.sampled_from(TUNNELS).map(lambda tunnel: {"method": "tunnel", "tunnel": tunnel}),
)
RULED = ("0.0.0.0/0", "198.51.100.0/24", "198.51.100.1/32", "::/0", "fd00:ff::/32")
rules = st.builds(
    lambda prefix, services: VipRule(
        **{"prefix6" if ":" in prefix else "prefix4": ip_network(prefix)}, services=services
    ),
    st.sampled_from(RULED),
    st.sampled_from([(), ("a",), ("[bc]",), ("?",), ("b*", "c")]),
)
SERVICES = st.sampled_from([b"a", b"b", b"c"])
BACKENDS = st.sampled_from([b"1", b"2", b"3", b"4"])
RULES = st.sampled_from([b"r", b"s", b"t"])
ROUTES = st.sampled_from([b"q", b"r", b"s", b"t"])
updates = st.one_of(
    st.tuples(st.builds(FrontendKey, SERVICES), st.none() | frontends),
    st.tuples(st.builds(FrontendKey, SERVICES), frontends),
    st.tuples(st.builds(BackendKey, SERVICES, BACKENDS), st.none() | backends | unclear_backends),
    st.tuples(st.builds(BackendKey, SERVICES, BACKENDS), backends),
    st.tuples(st.builds(RouteKey, ROUTES), st.none() | routes),
    st.tuples(st.builds(VipKey, RULES), st.none() | rules),
    st.tuples(st.builds(HealthKey, st.none() | SERVICES), st.none() | checks),
)
node_defaults = st.builds(
    Defaults,
    scheduler=st.just("wlc"),
    method=st.sampled_from([Method.MASQ, Method.DROUTE]),
    exclude=st.sampled_from([(), EXCLUDED]),
    synced=st.booleans(),
    strict_vips=st.sampled_from([False, False, True]),
)

virtuals = st.builds(
    lambda family, protocol, port: VirtualServer(
        family, protocol, IPv4Address("198.51.100.1") if family is Family.IPV4 else IPv6Address("fd00:ff::1"), port
    ),
    *(st.sampled_from(Family), st.sampled_from([Protocol.TCP, Protocol.UDP]), st.sampled_from([80, 443])),
) | st.builds(VirtualServer, st.sampled_from(Family), fwmark=st.sampled_from([1, 2]))
virtual_settings = st.builds(
    VirtualServerSettings,
    *(st.sampled_from(["rr", "wlc"]), st.sampled_from([ServiceFlag(0), ServiceFlag.SCHED_1]), st.just(0), st.just(128)),
)
reals = st.builds(RealServer, IPV4 | IPV6, st.sampled_from([80, 81]))
real_settings = st.builds(
    RealServerSettings, st.sampled_from([Method.MASQ, Method.DROUTE]), st.integers(0, 3)
) | st.builds(
    lambda tunnel, weight: RealServerSettings(Method.TUNNEL, weight, tunnel=tunnel),
    st.sampled_from(TUNNELS),
    st.integers(0, 3),
)
tables = st.dictionaries(
    virtuals, st.tuples(virtual_settings, st.dictionaries(reals, real_settings, max_size=5)), max_size=5
).map(lambda rows: table_of((virtual, *row) for virtual, row in rows.items()))
