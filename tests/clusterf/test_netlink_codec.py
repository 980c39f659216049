import contextlib
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.netlink_codec import (
    Command,
    attributes,
    decode_connections,
    decode_real,
    decode_virtual,
    encode,
    encode_key,
)
from clusterf.table import (
    Family,
    Method,
    Op,
    Protocol,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    VirtualServer,
    VirtualServerSettings,
)


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
    "0800 0600 3200 0000 0800 0700 0300 0000 0800 0800 0000 0000 0800 0900 0000 0000 0600 0b00 0200 0000",
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
real_settings = st.builds(RealServerSettings, st.sampled_from(Method), u32, u32, u32)
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
    assert decode_real(DEST) == (BACKEND, RealServerSettings(Method.MASQ, 10, 100, 50))
    assert decode_connections(DEST) == (BACKEND, 3)


def test_timeout_and_netmask_count_only_with_persistence():
    plain = SERVICE.replace(bytes.fromhex("0c00070013"), bytes.fromhex("0c00070012"))
    assert decode_virtual(plain) == (WEB, VirtualServerSettings("wlc", ServiceFlag.SCHED_2, 0, 0xFFFFFFFF))


def test_a_virtual_server_of_another_protocol_is_none_of_ours():
    gre = SERVICE.replace(bytes.fromhex("0600020006"), bytes.fromhex("060002002f"))
    assert decode_virtual(gre) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0800030000000000", "0800030007000000"),  # a forwarding method without a name
        ("0800030000000000080004000a00000005000d0000", "0800030002000000080004000a00000005000d0001"),  # GUE
    ],
)
def test_forwarding_that_nobody_asks_for_is_read_as_bypass(old, new):
    assert decode_real(DEST.replace(bytes.fromhex(old), bytes.fromhex(new)))[1].method is Method.BYPASS


@pytest.mark.parametrize("decode", [decode_virtual, decode_real, decode_connections])
@pytest.mark.parametrize("answer", [SERVICE, DEST])
def test_an_answer_cut_anywhere_is_refused(decode, answer):
    for size in range(len(answer)):
        with pytest.raises(ValueError):
            decode(answer[:size])


@pytest.mark.parametrize("decode", [decode_virtual, decode_real, decode_connections])
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
        decode_real(bytes(damaged))
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
        sent, payload = encode(Step(op, virtual, settings=settings))
        assert sent == command
        assert decode_virtual(payload) == (virtual, settings)


@given(virtuals, reals, real_settings)
def test_a_real_server_is_read_as_it_is_written(virtual, real, settings):
    for op, command in ((Op.ADD_REAL, Command.NEW_DEST), (Op.EDIT_REAL, Command.SET_DEST)):
        sent, payload = encode(Step(op, virtual, real, settings))
        assert sent == command
        assert payload.startswith(encode_key(virtual))
        assert decode_real(payload) == (real, settings)


@given(virtuals, reals)
def test_a_removal_names_what_goes_and_no_more(virtual, real):
    assert encode(Step(Op.REMOVE_VIRTUAL, virtual)) == (Command.DEL_SERVICE, encode_key(virtual))
    command, payload = encode(Step(Op.REMOVE_REAL, virtual, real))
    assert command == Command.DEL_DEST
    assert attributes(attributes(payload)[2]).keys() == {1, 2, 11}


def test_messages_are_what_the_kernel_expects():
    _, payload = encode(Step(Op.ADD_REAL, WEB, BACKEND, RealServerSettings(Method.MASQ, 10, 100, 50)))
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


def test_equal_settings_of_real_servers_are_one_object():
    assert decode_real(DEST)[1] is decode_real(DEST)[1]
