"""Answers of the kernel about IPVS as bytes, and values drawn for its requests."""

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

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
)
from clusterf.lib.addresses import Family, Protocol

__all__ = [
    "BACKEND",
    "DEST",
    "SERVICE",
    "WEB",
    "outer",
    "real_settings",
    "reals",
    "virtual_settings",
    "virtuals",
]


def outer(kind: int, body: str) -> bytes:
    data = bytes.fromhex(body)
    return struct.pack("=HH", len(data) + 4, kind) + data


# answers of a 7.2 kernel to GET_SERVICE and GET_DEST, without the statistics at their ends
SERVICE = outer(
    1,
    "0600 0100 0200 0000 0600 0200 0600 0000 1400 0300 0a6b 6b6b 0000 0000 0000 0000 0000 0000"
    "0600 0400 0539 0000 0800 0600 776c 6300 0c00 0700 1300 0000 ffff ffff 0800 0800 2c01 0000 0800 0900 ffff ff00",
)
DEST = outer(
    2,
    "1400 0100 0a03 6b01 0000 0000 0000 0000 0000 0000 0600 0200 1f90 0000 0800 0300 0000 0000"
    "0800 0400 0a00 0000 0500 0d00 0000 0000 0600 0e00 0000 0000 0600 0f00 0000 0000 0800 0500 6400 0000"
    "0800 0600 3200 0000 0800 0700 0300 0000 0800 0800 0400 0000 0800 0900 0000 0000 0600 0b00 0200 0000",
)

WEB = VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("10.107.107.107"), 1337)
BACKEND = RealServer(IPv4Address("10.3.107.1"), 8080)

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
addresses = st.one_of(
    st.builds(IPv4Address, u32),
    st.builds(IPv6Address, st.integers(0, 2**128 - 1)),
)
virtuals = st.one_of(
    st.builds(lambda p, a, port: VirtualServer(Family.of(a), p, a, port), st.sampled_from(Protocol), addresses, u16),
    st.builds(lambda family, mark: VirtualServer(family, fwmark=mark), st.sampled_from(Family), u32.filter(bool)),
)
reals = st.builds(RealServer, addresses, u16)
tunnels = st.builds(Tunnel, st.sampled_from(TunnelType), u16, st.sampled_from(TunnelChecksum))
real_settings = st.one_of(
    st.builds(RealServerSettings, st.sampled_from(Method), u32, u32, u32),
    st.builds(RealServerSettings, st.just(Method.TUNNEL), u32, u32, u32, tunnels),
)
names = st.text("abcdefgh", max_size=15)


@st.composite
def virtual_settings(draw: st.DrawFn, family: Family) -> VirtualServerSettings:
    flags = ServiceFlag(draw(st.sampled_from(range(0, 0x40, 4))))
    if not draw(st.booleans()):
        return VirtualServerSettings(draw(names), flags, 0, 0xFFFFFFFF if family is Family.IPV4 else 128, draw(names))
    flags |= ServiceFlag.PERSISTENT
    return VirtualServerSettings(draw(names), flags, draw(u32), draw(u32), draw(names))
