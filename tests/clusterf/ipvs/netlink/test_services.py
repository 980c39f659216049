import contextlib
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.ipvs.netlink.attributes import attributes
from clusterf.ipvs.netlink.destinations import decode_connections, decode_destination
from clusterf.ipvs.netlink.services import Command, decode_virtual, encode_key, encode_step
from clusterf.ipvs.table import (
    ConnectionCount,
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualServer,
    VirtualServerSettings,
)
from clusterf.lib.addresses import Family, Protocol


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


def test_a_virtual_server_of_the_kernel_is_read():
    assert decode_virtual(SERVICE) == (
        WEB,
        VirtualServerSettings("wlc", ServiceFlag.PERSISTENT | ServiceFlag.SCHED_2, 300, 0xFFFFFF00),
    )


def test_a_real_server_of_the_kernel_is_read():
    assert decode_destination(DEST) == (BACKEND, RealServerSettings(Method.MASQ, 10, 100, 50))
    assert decode_connections(DEST) == (BACKEND, ConnectionCount(active=3, inactive=4))


def test_timeout_and_netmask_count_only_with_persistence():
    plain = SERVICE.replace(bytes.fromhex("0c00070013"), bytes.fromhex("0c00070012"))
    assert decode_virtual(plain) == (WEB, VirtualServerSettings("wlc", ServiceFlag.SCHED_2, 0, 0xFFFFFFFF))


def test_a_virtual_server_of_another_protocol_is_none_of_ours():
    gre = SERVICE.replace(bytes.fromhex("0600020006"), bytes.fromhex("060002002f"))
    assert decode_virtual(gre) is None


def forwarded(method: int, kind: int = 0, port: int = 0, flags: int = 0) -> bytes:
    """Return that answer with another forwarding."""
    answer = DEST.replace(bytes.fromhex("0800030000000000"), struct.pack("=HHI", 8, 3, method))
    plain = bytes.fromhex("05000d0000000000 06000e0000000000 06000f0000000000")
    assert plain in answer
    attributes = struct.pack("=HHB3x", 5, 13, kind), struct.pack("=HH", 6, 14), struct.pack("!H2x", port)
    return answer.replace(plain, b"".join(attributes) + struct.pack("=HHH2x", 6, 15, flags))


@pytest.mark.parametrize(
    ("answer", "tunnel"),
    [
        (forwarded(2), Tunnel()),
        (forwarded(2, 1, 6080), Tunnel(TunnelType.GUE, 6080)),
        (forwarded(2, 1, 6080, 2), Tunnel(TunnelType.GUE, 6080, TunnelChecksum.REMCSUM)),
        (forwarded(2, 2, 0, 1), Tunnel(TunnelType.GRE, 0, TunnelChecksum.CSUM)),
        (forwarded(2, 0, 5, 1), Tunnel(TunnelType.IPIP, 5, TunnelChecksum.CSUM)),  # is nothing that can be asked for
    ],
)
def test_a_tunnel_of_the_kernel_is_read(answer, tunnel):
    assert decode_destination(answer)[1] == RealServerSettings(Method.TUNNEL, 10, 100, 50, tunnel)


@pytest.mark.parametrize("answer", [forwarded(7), forwarded(2, 3), forwarded(2, 1, 6080, 3), forwarded(2, 1, 6080, 4)])
def test_forwarding_without_a_name_is_read_as_bypass_for_which_nobody_asks(answer):
    assert decode_destination(answer)[1] == RealServerSettings(Method.BYPASS, 10, 100, 50)


def test_a_tunnel_counts_for_no_other_method():
    assert decode_destination(forwarded(0, 1, 6080, 1))[1] == RealServerSettings(Method.MASQ, 10, 100, 50)


def test_a_kernel_that_knows_one_kind_of_tunnel_does_not_say_so():
    silent = {kind: body for kind, body in attributes(attributes(forwarded(2))[2]).items() if kind not in (13, 14, 15)}
    body = b"".join(struct.pack("=HH", len(b) + 4, kind) + b + b"\0" * (-len(b) % 4) for kind, b in silent.items())
    assert decode_destination(outer(2, body.hex()))[1] == RealServerSettings(Method.TUNNEL, 10, 100, 50)


@pytest.mark.parametrize("decode", [decode_virtual, decode_destination, decode_connections])
@pytest.mark.parametrize("answer", [SERVICE, DEST])
def test_an_answer_cut_anywhere_is_refused(decode, answer):
    for size in range(len(answer)):
        with pytest.raises(ValueError):
            decode(answer[:size])


@pytest.mark.parametrize("decode", [decode_virtual, decode_destination, decode_connections])
@given(data=st.one_of(st.binary(), st.binary().map(lambda body: struct.pack("=HH", len(body) + 4, 1) + body)))
def test_hostile_answers_are_refused(decode, data):
    with pytest.raises(ValueError):
        decode(data)


@given(st.integers(0, len(SERVICE) - 1), st.integers(0, 255))
def test_a_damaged_virtual_server_is_read_or_refused(index, byte):
    damaged = bytearray(SERVICE)
    damaged[index] = byte
    with contextlib.suppress(ValueError):
        decode_virtual(bytes(damaged))


@given(st.integers(0, len(DEST) - 1), st.integers(0, 255))
def test_a_damaged_real_server_is_read_or_refused(index, byte):
    damaged = bytearray(DEST)
    damaged[index] = byte
    with contextlib.suppress(ValueError):
        decode_destination(bytes(damaged))
        decode_connections(bytes(damaged))


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_are_found_whatever_their_flags(expected):
    data = b"".join(
        struct.pack("=HH", len(body) + 4, kind | 0x8000) + body + b"\0" * (-len(body) % 4)
        for kind, body in expected.items()
    )
    assert attributes(data) == expected


@given(st.binary(max_size=200))
def test_attributes_fill_their_space_or_are_refused(data):
    try:
        found = attributes(data)
    except ValueError:
        return
    assert sum(map(len, found.values())) <= len(data)


@given(st.data(), virtuals)
def test_a_virtual_server_is_read_as_it_is_written(data, virtual):
    settings = data.draw(virtual_settings(virtual.family))
    for op, command in ((Op.ADD_VIRTUAL, Command.NEW_SERVICE), (Op.EDIT_VIRTUAL, Command.SET_SERVICE)):
        sent, payload = encode_step(Step(op, virtual, settings=settings))
        assert sent == command
        assert decode_virtual(payload) == (virtual, settings)


@given(virtuals, reals, real_settings)
def test_a_real_server_is_read_as_it_is_written(virtual, real, settings):
    for op, command in ((Op.ADD_REAL, Command.NEW_DEST), (Op.EDIT_REAL, Command.SET_DEST)):
        sent, payload = encode_step(Step(op, virtual, real, settings))
        assert sent == command
        assert payload.startswith(encode_key(virtual))
        assert decode_destination(payload) == (real, settings)


@given(virtuals, reals)
def test_a_removal_names_what_goes_and_no_more(virtual, real):
    assert encode_step(Step(Op.REMOVE_VIRTUAL, virtual)) == (Command.DEL_SERVICE, encode_key(virtual))
    command, payload = encode_step(Step(Op.REMOVE_REAL, virtual, real))
    assert command == Command.DEL_DEST
    assert attributes(attributes(payload)[2]).keys() == {1, 2, 11}


def test_messages_are_what_the_kernel_expects():
    _, payload = encode_step(Step(Op.ADD_REAL, WEB, BACKEND, RealServerSettings(Method.MASQ, 10, 100, 50)))
    service, dest = attributes(payload)[1], attributes(payload)[2]
    assert attributes(service) == {
        1: b"\x02\0",
        2: b"\x06\0",
        3: b"\x0a\x6b\x6b\x6b" + bytes(12),
        4: b"\x05\x39",
    }
    assert attributes(dest) == {
        1: b"\x0a\x03\x6b\x01" + bytes(12),
        2: b"\x1f\x90",
        3: bytes(4),
        4: b"\x0a\0\0\0",
        5: b"\x64\0\0\0",
        6: b"\x32\0\0\0",
        11: b"\x02\0",
    }


def test_a_tunnel_is_told_only_where_it_is_another_than_ip_in_ip():
    for settings in (RealServerSettings(Method.MASQ, 10), RealServerSettings(Method.TUNNEL, 10, tunnel=Tunnel())):
        _, payload = encode_step(Step(Op.EDIT_REAL, WEB, BACKEND, settings))
        assert not attributes(attributes(payload)[2]).keys() & {13, 14, 15}
    gue = Tunnel(TunnelType.GUE, 6080, TunnelChecksum.REMCSUM)
    _, payload = encode_step(Step(Op.ADD_REAL, WEB, BACKEND, RealServerSettings(Method.TUNNEL, 10, tunnel=gue)))
    dest = attributes(attributes(payload)[2])
    assert [dest[kind] for kind in (13, 14, 15)] == [b"\x01", b"\x17\xc0", b"\x02\0"]


def test_equal_settings_of_real_servers_are_one_object():
    assert decode_destination(DEST)[1] is decode_destination(DEST)[1]
