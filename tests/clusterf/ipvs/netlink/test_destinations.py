import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.ipvs.netlink.attributes import attributes
from clusterf.ipvs.netlink.destinations import decode_connections, decode_destination
from clusterf.ipvs.netlink.services import Command, encode_key, encode_step
from clusterf.ipvs.table import (
    ConnectionCount,
    Method,
    Op,
    RealServerSettings,
    Step,
    Tunnel,
    TunnelChecksum,
    TunnelType,
)
from tests.clusterf.support.netlink_answers import (
    BACKEND,
    DEST,
    WEB,
    outer,
    real_settings,
    reals,
    virtuals,
)


def test_answer_of_the_kernel_is_decoded():
    assert decode_destination(DEST) == (BACKEND, RealServerSettings(Method.MASQ, 10, 100, 50))
    assert decode_connections(DEST) == (BACKEND, ConnectionCount(active=3, inactive=4))


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
def test_tunnel_is_decoded(answer, tunnel):
    assert decode_destination(answer)[1] == RealServerSettings(Method.TUNNEL, 10, 100, 50, tunnel)


@pytest.mark.parametrize("answer", [forwarded(7), forwarded(2, 3), forwarded(2, 1, 6080, 3), forwarded(2, 1, 6080, 4)])
def test_unknown_forwarding_is_decoded_as_bypass(answer):
    assert decode_destination(answer)[1] == RealServerSettings(Method.BYPASS, 10, 100, 50)


def test_tunnel_is_ignored_with_another_method():
    assert decode_destination(forwarded(0, 1, 6080, 1))[1] == RealServerSettings(Method.MASQ, 10, 100, 50)


@pytest.mark.parametrize("count", [7, 8, 9])
def test_answer_of_almost_the_usual_layout_is_decoded_by_its_attributes(count):
    place = DEST.find(struct.pack("=HH", 8, count))
    assert place > 0
    answer = DEST[:place] + struct.pack("=HHI", 8, 4, 7) + DEST[place + 8 :]
    assert decode_destination(answer) == (BACKEND, RealServerSettings(Method.MASQ, 7, 100, 50))


def test_tunnel_without_attributes_is_ip_in_ip():
    silent = {kind: body for kind, body in attributes(attributes(forwarded(2))[2]).items() if kind not in (13, 14, 15)}
    body = b"".join(struct.pack("=HH", len(b) + 4, kind) + b + b"\0" * (-len(b) % 4) for kind, b in silent.items())
    assert decode_destination(outer(2, body.hex()))[1] == RealServerSettings(Method.TUNNEL, 10, 100, 50)


@given(st.integers(0, len(DEST) - 1), st.integers(0, 255))
def test_damaged_real_server_is_decoded_or_malformed(index, byte):
    damaged = bytearray(DEST)
    damaged[index] = byte
    with contextlib.suppress(ValueError):
        decode_destination(bytes(damaged))
        decode_connections(bytes(damaged))


@given(virtuals, reals, real_settings)
def test_real_server_is_decoded_as_it_was_encoded(virtual, real, settings):
    for op, command in ((Op.ADD_REAL, Command.NEW_DEST), (Op.EDIT_REAL, Command.SET_DEST)):
        sent, payload = encode_step(Step(op, virtual, real, settings))
        assert sent == command
        assert payload.startswith(encode_key(virtual))
        assert decode_destination(payload) == (real, settings)


def test_only_tunnels_other_than_ip_in_ip_are_encoded():
    for settings in (RealServerSettings(Method.MASQ, 10), RealServerSettings(Method.TUNNEL, 10, tunnel=Tunnel())):
        _, payload = encode_step(Step(Op.EDIT_REAL, WEB, BACKEND, settings))
        assert not attributes(attributes(payload)[2]).keys() & {13, 14, 15}
    gue = Tunnel(TunnelType.GUE, 6080, TunnelChecksum.REMCSUM)
    _, payload = encode_step(Step(Op.ADD_REAL, WEB, BACKEND, RealServerSettings(Method.TUNNEL, 10, tunnel=gue)))
    dest = attributes(attributes(payload)[2])
    assert [dest[kind] for kind in (13, 14, 15)] == [b"\x01", b"\x17\xc0", b"\x02\0"]


def test_equal_settings_are_one_object():
    assert decode_destination(DEST)[1] is decode_destination(DEST)[1]
