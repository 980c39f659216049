"""Truncated, damaged and random bytes in place of the kernel's answers.

Decoding them gives a value or a ValueError, the channel a value or an OSError,
and nothing that is truncated is taken as complete.
"""

import errno
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterf.ipvs import ipvsadm
from clusterf.ipvs.netlink import channel as channel_module
from clusterf.ipvs.netlink.attributes import attributes
from clusterf.ipvs.netlink.channel import Channel, answers
from clusterf.ipvs.netlink.destinations import decode_connections, decode_destination
from clusterf.ipvs.netlink.services import decode_virtual, encode_key, encode_step
from clusterf.ipvs.table import (
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    VirtualServer,
    VirtualServerSettings,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol
from tests.examples import examples

FAMILY, ERROR, DONE, INTERRUPTED = 30, 2, 3, 0x10
VIRTUALS = (
    VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("198.51.100.1"), 80),
    VirtualServer(Family.IPV6, Protocol.SCTP, IPv6Address("fd00:ff::1"), 443),
    VirtualServer(Family.IPV6, fwmark=7),
)
VIRTUAL_SETTINGS = VirtualServerSettings("wlc", ServiceFlag.PERSISTENT | ServiceFlag.SCHED_1, 300, 64, "sip")
REALS = (RealServer(IPv4Address("10.0.0.1"), 8080), RealServer(IPv6Address("fd00::1"), 80))
SETTINGS = RealServerSettings(Method.MASQ, 10, 100, 50)


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def answer_for(step: Step) -> bytes:
    """Return the kernel's answer about the server that `step` adds, with counters."""
    _, payload = encode_step(step)
    kind, mine = (1, payload) if step.real is None else (2, payload[len(encode_key(step.virtual)) :])
    counters = [(7, bytes(4)), (8, bytes(4)), (9, bytes(4))] if step.real else []
    counters.append((10 if step.real is None else 12, attribute(1, bytes(8)) + attribute(2, bytes(8))))
    inner = attributes(mine)[kind] + b"".join(attribute(*counter) for counter in counters)
    return attribute(kind | 0x8000, inner)


VIRTUAL_ROWS = [answer_for(Step(Op.ADD_VIRTUAL, virtual, settings=VIRTUAL_SETTINGS)) for virtual in VIRTUALS]
REAL_ROWS = [answer_for(Step(Op.ADD_REAL, VIRTUALS[0], real, SETTINGS)) for real in REALS]
ANSWERS = [
    *((decode_virtual, row) for row in VIRTUAL_ROWS),
    *((decode, row) for decode in (decode_destination, decode_connections) for row in REAL_ROWS),
]
DECODERS = (attributes, decode_virtual, decode_destination, decode_connections)

answered = st.sampled_from(ANSWERS)


def outcome(decode, payload):
    """Return the decoded value, or "malformed"."""
    try:
        return decode(payload)
    except ValueError:
        return "malformed"


def flipped(data: bytes, bits: list[int]) -> bytes:
    bent = bytearray(data)
    for bit in bits:
        bent[bit // 8 % len(bent)] ^= 1 << bit % 8
    return bytes(bent)


def usable(decode, value) -> None:
    """See that a decoded value can be compared, printed and put into a table."""
    if decode is decode_virtual and value is not None:
        assert ipvsadm.lines(table_of([(*value, {})]))
    elif decode is decode_destination:
        assert ipvsadm.lines(table_of([(VIRTUALS[0], VIRTUAL_SETTINGS, dict([value]))]))
    elif decode is decode_connections:
        assert isinstance(value[0], RealServer)


def test_answers_are_decoded_as_they_were_encoded():
    assert [decode_virtual(row) for row in VIRTUAL_ROWS[1:]] == [
        (virtual, VIRTUAL_SETTINGS) for virtual in VIRTUALS[1:]
    ]
    assert [decode_destination(row) for row in REAL_ROWS] == [(real, SETTINGS) for real in REALS]
    assert [decode_connections(row)[0] for row in REAL_ROWS] == list(REALS)


@pytest.mark.parametrize(("decode", "payload"), ANSWERS)
def test_truncated_answer_is_malformed(decode, payload):
    for length in range(len(payload)):
        assert outcome(decode, payload[:length]) == "malformed", length


@pytest.mark.parametrize(("decode", "payload"), ANSWERS)
def test_truncated_attribute_is_malformed(decode, payload):
    ((kind, nested),) = attributes(payload).items()
    needed = outcome(decode, payload)
    for missing in attributes(nested):
        parts = attributes(nested)
        for size in range(len(parts[missing])):
            cut = {**parts, missing: parts[missing][:size]}
            bent = attribute(kind, b"".join(attribute(*part) for part in cut.items()))
            # (an address of IPv4 needs 4 of its 16 bytes, and the counters are not needed)
            assert outcome(decode, bent) in ("malformed", needed), (missing, size)


@given(st.binary(max_size=300))
def test_random_bytes_are_malformed_or_a_value(data):
    for decode in DECODERS:
        found = outcome(decode, data)
        if found != "malformed":
            usable(decode, found)


@settings(max_examples=examples(300))
@given(answered, st.lists(st.integers(0, 1 << 14), min_size=1, max_size=4))
def test_answers_with_flipped_bits_are_malformed_or_a_value(answer, bits):
    decode, payload = answer
    found = outcome(decode, flipped(payload, bits))
    if found != "malformed":
        usable(decode, found)


@given(st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=40)), max_size=12), st.sampled_from([1, 2]))
def test_random_attributes_are_malformed_or_a_value(parts, kind):
    payload = attribute(kind, b"".join(attribute(*part) for part in parts))
    for decode in DECODERS:
        found = outcome(decode, payload)
        if found != "malformed":
            usable(decode, found)


@given(st.binary(max_size=200))
def test_random_messages_are_split_or_malformed(data):
    found = outcome(lambda data: list(answers(data)), memoryview(data))
    if found != "malformed":
        assert sum((len(answer.body) + 19) & ~3 for answer in found) in range(len(data), len(data) + 4)


class Hostile:
    """A socket that receives `datagrams`, and then times out."""

    def __init__(self, datagrams):
        self.datagrams = list(datagrams)

    def send(self, data, flags):
        return len(data)

    def recv_into(self, buffer, size, flags):
        if not self.datagrams:
            raise TimeoutError(errno.ETIMEDOUT, "nothing more")
        datagram = self.datagrams.pop(0)
        fits = min(len(datagram), len(buffer))
        buffer[:fits] = datagram[:fits]
        return len(datagram)

    def close(self):
        pass


@pytest.fixture(scope="module")
def channel_with():
    """Return a function that makes a channel which receives these datagrams."""
    waiting = []
    patch = pytest.MonkeyPatch()
    patch.setattr(channel_module, "_connect", lambda: Hostile(waiting))
    # a small buffer: making a large one costs more than a test
    patch.setattr(channel_module, "_BUFFER_BYTES", 2048)

    def make(datagrams):
        waiting[:] = datagrams
        return Channel(FAMILY, 10.0)

    yield make
    patch.undo()


def message(kind: int, sequence: int, body: bytes, flags: int = 2) -> bytes:
    size = 16 + len(body)
    return struct.pack("=IHHII", size, kind, flags, sequence, 0) + body + bytes(-size % 4)


def row(payload: bytes) -> bytes:
    return message(FAMILY, 1, b"\x06\x01\0\0" + payload)


END = message(DONE, 1, bytes(4))
DUMP = [b"".join(map(row, REAL_ROWS)), row(REAL_ROWS[0]), END]
WHOLE = [decode_destination(payload) for payload in (*REAL_ROWS, REAL_ROWS[0])]


def dumped(channel):
    """Return the result of a dump, or "failed"."""
    try:
        return channel.dump(8, b"", decode_destination)
    except OSError:
        return "failed"


def test_complete_dump_is_decoded(channel_with):
    assert dumped(channel_with(DUMP)) == WHOLE


def test_dump_with_a_truncated_datagram_fails(channel_with):
    for index, datagram in enumerate(DUMP):
        whole = {0, *(len(row(payload)) for payload in REAL_ROWS)}
        for length in set(range(len(datagram))) - whole:
            cut = [*DUMP[:index], datagram[:length], *DUMP[index + 1 :]]
            assert dumped(channel_with(cut)) == "failed", (index, length)


def test_dump_that_does_not_fit_the_buffer_fails(channel_with):
    everything = b"".join(map(row, REAL_ROWS)) + b"".join(row(REAL_ROWS[0]) for _ in range(20))
    assert len(everything) > 2048
    assert dumped(channel_with([everything, END])) == "failed"


@settings(max_examples=examples(300))
@given(st.lists(st.integers(0, 1 << 14), min_size=1, max_size=4), st.integers(0, 2))
def test_dump_with_flipped_bits_fails_or_is_a_list_of_real_servers(channel_with, bits, index):
    datagrams = [flipped(one, bits) if n == index else one for n, one in enumerate(DUMP)]
    found = dumped(channel_with(datagrams))
    if found != "failed":
        for value in found:
            usable(decode_destination, value)


datagrams = st.one_of(
    st.binary(max_size=64),
    st.builds(
        message,
        st.sampled_from([0, 1, ERROR, DONE, 4, 5, FAMILY]),
        st.integers(0, 4),
        st.binary(max_size=24) | st.sampled_from([bytes(4), b"\xfe\xff\xff\xff"]),
        st.sampled_from([0, 2, INTERRUPTED]),
    ),
)


@settings(max_examples=examples(300))
@given(st.lists(datagrams, max_size=8))
def test_random_datagrams_fail_a_query_or_end_it(channel_with, datagrams):
    for ask in (Channel.ask, Channel.dump):
        channel = channel_with(datagrams)
        try:
            found = ask(channel, 8, b"", bytes)
        except OSError:
            continue
        assert all(isinstance(value, bytes) for value in found)


@settings(max_examples=examples(300))
@given(st.lists(datagrams, max_size=8))
def test_random_datagrams_fail_a_batch_or_give_an_errno_for_each_step(channel_with, datagrams):
    try:
        errors = channel_with(datagrams).batch([(5, b""), (5, b"")])
    except OSError:
        return
    assert len(errors) == 2
    assert all(0 <= error <= 4095 for error in errors)
