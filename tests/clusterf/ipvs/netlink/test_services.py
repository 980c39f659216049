import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.ipvs.netlink.attributes import attributes
from clusterf.ipvs.netlink.destinations import decode_connections, decode_destination
from clusterf.ipvs.netlink.services import Command, decode_virtual, encode_key, encode_step
from clusterf.ipvs.table import (
    Method,
    Op,
    RealServerSettings,
    ServiceFlag,
    Step,
    VirtualServerSettings,
)
from tests.clusterf.support.netlink_answers import (
    BACKEND,
    DEST,
    SERVICE,
    WEB,
    reals,
    virtual_settings,
    virtuals,
)


def test_answer_of_the_kernel_is_decoded():
    assert decode_virtual(SERVICE) == (
        WEB,
        VirtualServerSettings("wlc", ServiceFlag.PERSISTENT | ServiceFlag.SCHED_2, 300, 0xFFFFFF00),
    )


def test_timeout_and_netmask_count_only_with_persistence():
    plain = SERVICE.replace(bytes.fromhex("0c00070013"), bytes.fromhex("0c00070012"))
    assert decode_virtual(plain) == (WEB, VirtualServerSettings("wlc", ServiceFlag.SCHED_2, 0, 0xFFFFFFFF))


def test_virtual_server_of_another_protocol_is_skipped():
    gre = SERVICE.replace(bytes.fromhex("0600020006"), bytes.fromhex("060002002f"))
    assert decode_virtual(gre) is None


@pytest.mark.parametrize("decode", [decode_virtual, decode_destination, decode_connections])
@pytest.mark.parametrize("answer", [SERVICE, DEST])
def test_truncated_answer_is_malformed(decode, answer):
    for size in range(len(answer)):
        with pytest.raises(ValueError):
            decode(answer[:size])


@pytest.mark.parametrize("decode", [decode_virtual, decode_destination, decode_connections])
@given(data=st.one_of(st.binary(), st.binary().map(lambda body: struct.pack("=HH", len(body) + 4, 1) + body)))
def test_random_bytes_are_malformed(decode, data):
    with pytest.raises(ValueError):
        decode(data)


@given(st.integers(0, len(SERVICE) - 1), st.integers(0, 255))
def test_damaged_virtual_server_is_decoded_or_malformed(index, byte):
    damaged = bytearray(SERVICE)
    damaged[index] = byte
    with contextlib.suppress(ValueError):
        decode_virtual(bytes(damaged))


@given(st.data(), virtuals)
def test_virtual_server_is_decoded_as_it_was_encoded(data, virtual):
    settings = data.draw(virtual_settings(virtual.family))
    for op, command in ((Op.ADD_VIRTUAL, Command.NEW_SERVICE), (Op.EDIT_VIRTUAL, Command.SET_SERVICE)):
        sent, payload = encode_step(Step(op, virtual, settings=settings))
        assert sent == command
        assert decode_virtual(payload) == (virtual, settings)


@given(virtuals, reals)
def test_removal_contains_the_key_only(virtual, real):
    assert encode_step(Step(Op.REMOVE_VIRTUAL, virtual)) == (Command.DEL_SERVICE, encode_key(virtual))
    command, payload = encode_step(Step(Op.REMOVE_REAL, virtual, real))
    assert command == Command.DEL_DEST
    assert attributes(attributes(payload)[2]).keys() == {1, 2, 11}


def test_payload_has_the_attributes_that_the_kernel_expects():
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
