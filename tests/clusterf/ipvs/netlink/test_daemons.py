import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.ipvs.netlink.attributes import attributes
from clusterf.ipvs.netlink.daemons import decode_daemon, encode_daemon, encode_role
from clusterf.ipvs.sync import SyncDaemon, SyncRole

# answers of a 7.2 kernel to GET_DAEMON
MASTER = bytes.fromhex(
    "4000 0300 0800 0100 0100 0000 0900 0200 6574 6831 0000 0000 0800 0300 0700 0000"
    "0600 0400 c005 0000 0600 0700 9022 0000 0500 0800 0100 0000 0800 0500 e000 0051"
)
BACKUP6 = bytes.fromhex(
    "4c00 0300 0800 0100 0200 0000 0900 0200 6574 6831 0000 0000 0800 0300 0900 0000"
    "0600 0400 ac05 0000 0600 0700 0f27 0000 0500 0800 0100 0000"
    "1400 0600 ff02 0000 0000 0000 0000 0000 0000 0081"
)
ETH1 = SyncDaemon(SyncRole.MASTER, "eth1", 7)

names = st.text("abcdefghij0123456789.-é", min_size=1, max_size=15).filter(lambda name: len(name.encode()) <= 15)
daemons = st.tuples(st.sampled_from(SyncRole), names, st.integers(0, 255)).map(lambda fields: SyncDaemon(*fields))


def test_answers_of_the_kernel_are_decoded():
    assert decode_daemon(MASTER) == ETH1
    assert decode_daemon(BACKUP6) == SyncDaemon(SyncRole.BACKUP, "eth1", 9, "ff02::81", 9999)


def test_missing_group_and_port_are_the_defaults():
    assert decode_daemon(struct.pack("=HH", 32, 3) + MASTER[4:32]) == ETH1


@given(daemons)
def test_daemon_is_decoded_as_it_was_encoded(daemon):
    assert decode_daemon(encode_daemon(daemon)) == daemon


def test_role_is_encoded_as_its_number():
    assert attributes(attributes(encode_role(SyncRole.BACKUP))[3]) == {1: b"\x02\0\0\0"}


def test_interface_name_is_decoded_in_a_printable_form():
    assert decode_daemon(MASTER.replace(b"eth1", b"e\x1b\xff1")).interface == r"e\x1b\xff1"


def mutated(good: bytes, at: int, byte: int, end: int) -> bytes:
    broken = bytearray(good)
    broken[at % len(good)] = byte
    return bytes(broken[: end % (len(good) + 1)])


@given(
    st.one_of(
        st.binary(max_size=80),
        st.builds(mutated, st.sampled_from([MASTER, BACKUP6]), *[st.integers(0, 255)] * 2, st.integers(0, 80)),
    )
)
def test_random_bytes_are_a_daemon_or_malformed(data):
    try:
        daemon = decode_daemon(data)
    except ValueError:
        return
    assert daemon.role in SyncRole
    assert daemon.interface.isprintable()


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_missing_attribute_is_malformed(kind):
    values = {1: b"\x01\0\0\0", 2: b"eth1\0\0\0\0", 3: b"\x07\0\0\0"}
    del values[kind]
    inner = b"".join(struct.pack("=HH", len(value) + 4, k) + value for k, value in values.items())
    with pytest.raises(ValueError, match="malformed"):
        decode_daemon(struct.pack("=HH", len(inner) + 4, 3) + inner)


@pytest.mark.parametrize("state", [0, 3, 0xFFFFFFFF])
def test_unknown_role_is_malformed(state):
    with pytest.raises(ValueError, match="SyncRole"):
        decode_daemon(MASTER[:8] + struct.pack("=I", state) + MASTER[12:])
