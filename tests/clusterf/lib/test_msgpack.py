from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.config.model import Backend, Frontend, HealthCheck, Persistence, Route, Tls
from clusterf.ipvs.table import Tunnel, TunnelChecksum, TunnelType
from clusterf.lib.msgpack import dec_hook, enc_hook


class FrontendIs(msgspec.Struct, frozen=True, tag=1, array_like=True):
    service: bytes
    value: Frontend | None


class BackendIs(msgspec.Struct, frozen=True, tag=2, array_like=True):
    service: bytes
    backend: bytes
    value: Backend | None


class HealthCheckIs(msgspec.Struct, frozen=True, tag=3, array_like=True):
    service: bytes | None
    value: HealthCheck | None


class RouteIs(msgspec.Struct, frozen=True, tag=4, array_like=True):
    route: bytes
    value: Route | None


Message = FrontendIs | BackendIs | HealthCheckIs | RouteIs
ENCODER = msgspec.msgpack.Encoder(enc_hook=enc_hook)
PORTS = st.none() | st.integers(1, 65535)
IPV4 = st.none() | st.ip_addresses(v=4)
IPV6 = st.none() | st.ip_addresses(v=6)
NETWORKS4 = st.builds(lambda a, n: IPv4Network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32))
NETWORKS6 = st.builds(lambda a, n: IPv6Network((a, n), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128))
FRONTENDS = st.builds(
    Frontend,
    ipv4=IPV4,
    ipv6=IPV6,
    tcp=PORTS,
    scheduler_flags=st.sampled_from([(), ("sh-port", "sh-fallback")]),
    persistence=st.none() | st.builds(Persistence, timeout=st.integers(1, 9)),
)
BACKENDS = st.builds(Backend, ipv4=IPV4, ipv6=IPV6, udp=PORTS, weight=st.integers(0, 65535))
HEALTH_CHECKS = st.builds(
    HealthCheck,
    type=st.sampled_from(["tcp", "https"]),
    status=st.lists(st.tuples(st.integers(100, 199), st.integers(200, 599)), min_size=1).map(tuple),
    headers=st.lists(st.tuples(st.text(), st.text())).map(tuple),
    tls=st.builds(Tls, verify=st.booleans(), ca=st.text()),
    interval=st.floats(0.1, 10),
)
ROUTES = st.builds(
    Route,
    *(st.none() | NETWORKS4, st.none() | NETWORKS6, IPV4, IPV6),
    tunnel=st.builds(Tunnel, st.sampled_from(TunnelType), st.integers(0, 65535), st.sampled_from(TunnelChecksum)),
)
MESSAGES = st.one_of(
    st.builds(FrontendIs, st.binary(), st.none() | FRONTENDS),
    st.builds(BackendIs, st.binary(), st.binary(), st.none() | BACKENDS),
    st.builds(HealthCheckIs, st.none() | st.binary(), st.none() | HEALTH_CHECKS),
    st.builds(RouteIs, st.binary(), st.none() | ROUTES),
)


def decode(raw, kind):
    return msgspec.msgpack.decode(raw, type=kind, dec_hook=dec_hook)


@given(st.lists(MESSAGES))
def test_messages_survive_encoding(messages):
    assert decode(ENCODER.encode(messages), list[Message]) == messages


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (IPv4Address("10.3.107.1"), b"\x0a\x03\x6b\x01"),
        (IPv6Address("fd00::1"), b"\xfd" + bytes(14) + b"\x01"),
        (IPv4Network("10.3.107.0/24"), b"\x0a\x03\x6b\x00\x18"),
        (IPv6Network("::/0"), bytes(17)),
    ],
)
def test_addresses_and_prefixes_are_encoded_compactly(value, raw):
    assert enc_hook(value) == raw
    assert dec_hook(type(value), raw) == value


@pytest.mark.parametrize("kind", [IPv4Address, IPv6Address, IPv4Network, IPv6Network])
@pytest.mark.parametrize("junk", [b"", b"\x01", b"\xff" * 5, b"\xff" * 17, b"\xff" * 18, 7, "10.3.107.1", None])
def test_invalid_bytes_are_a_validation_error(kind, junk):
    with pytest.raises(msgspec.ValidationError):
        decode(ENCODER.encode(junk), kind)


def test_other_types_are_refused():
    with pytest.raises(NotImplementedError, match="object"):
        enc_hook(object())
    with pytest.raises(NotImplementedError, match="complex"):
        dec_hook(complex, b"")
