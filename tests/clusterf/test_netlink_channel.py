import errno
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf import netlink_channel
from clusterf.netlink_channel import Channel, answers

ERROR, DONE, FAMILY = 2, 3, 30
INTERRUPTED = 0x10


class FakeKernel:
    """The other ends of a channel's sockets; answers are given before they are asked for."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ends.append(theirs)
        return ours

    def answer(self, *messages: bytes) -> None:
        self.ends[-1].send(b"".join(messages))

    def requests(self) -> list[tuple[int, int, int, int]]:
        """Return size, type, flags and sequence of each message of one send."""
        data, found = self.ends[-1].recv(1 << 20), []
        while data:
            found.append(struct.unpack_from("=IHHI", data))
            data = data[found[-1][0] :]
        return found


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    kernel = FakeKernel()
    monkeypatch.setattr(netlink_channel, "_connect", kernel.connect)
    yield kernel
    for end in kernel.ends:
        end.close()


@pytest.fixture
def channel(kernel: FakeKernel) -> Iterator[Channel]:
    channel = Channel(FAMILY, 0.05)
    yield channel
    channel.close()


def message(kind: int, sequence: int, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def status(sequence: int, error: int = 0, kind: int = ERROR) -> bytes:
    return message(kind, sequence, struct.pack("=i", -error))


def row(sequence: int, body: bytes, flags: int = 0) -> bytes:
    return message(FAMILY, sequence, b"\x05\x01\0\0" + body, flags)


def test_one_acknowledgement_is_asked_for_a_send(kernel, channel):
    kernel.answer(status(4))
    assert channel.batch([(5, b"1234"), (5, b"1234"), (6, b"")]) == [0, 0, 0]
    assert kernel.requests() == [(24, FAMILY, 1, 1), (24, FAMILY, 1, 2), (20, FAMILY, 1, 3), (16, 1, 5, 4)]


def test_refusals_belong_to_their_requests(kernel, channel):
    kernel.answer(status(2, errno.EEXIST))
    kernel.answer(status(3, errno.ESRCH), status(4))
    assert channel.batch([(5, b"")] * 3) == [0, errno.EEXIST, errno.ESRCH]


def test_a_long_batch_is_many_sends(kernel, channel):
    kernel.answer(status(1, errno.EEXIST), status(257))
    kernel.answer(status(513, errno.ENOENT), status(514))
    assert channel.batch([(5, b"")] * 512) == [errno.EEXIST, *([0] * 510), errno.ENOENT]
    assert [len(kernel.requests()), len(kernel.requests())] == [257, 257]


def test_answers_to_other_requests_are_passed_over(kernel, channel):
    kernel.answer(status(99, errno.EPERM), row(0, b"nope"), row(1, b"yes!"), status(1))
    assert channel.ask(4, b"", bytes) == [b"yes!"]


def test_a_refused_request_raises_what_the_kernel_says(kernel, channel):
    kernel.answer(status(1, errno.ESRCH))
    with pytest.raises(OSError) as raised:
        channel.ask(4, b"", bytes)
    assert raised.value.errno == errno.ESRCH
    assert len(kernel.ends) == 1


def test_a_dump_ends_when_the_kernel_says_so(kernel, channel):
    kernel.answer(row(1, b"one."), row(1, b"two."))
    kernel.answer(row(1, b"last"), status(1, kind=DONE))
    assert channel.dump(8, b"", bytes) == [b"one.", b"two.", b"last"]
    assert kernel.requests() == [(20, FAMILY, 0x301, 1)]


def test_a_dump_may_end_with_an_error(kernel, channel):
    kernel.answer(row(1, b"one."), status(1, errno.ENOMEM, DONE))
    with pytest.raises(OSError) as raised:
        channel.dump(8, b"", bytes)
    assert raised.value.errno == errno.ENOMEM


def test_an_inconsistent_dump_is_repeated(kernel, channel):
    kernel.answer(row(1, b"half", INTERRUPTED), message(DONE, 1))
    kernel.answer(row(2, b"full"), message(DONE, 2))
    assert channel.dump(8, b"", bytes) == [b"full"]


def test_a_dump_that_stays_inconsistent_is_an_error(kernel, channel):
    for sequence in range(1, 6):
        kernel.answer(message(DONE, sequence, flags=INTERRUPTED))
    with pytest.raises(OSError) as raised:
        channel.dump(8, b"", bytes)
    assert raised.value.errno == errno.EAGAIN


def test_silence_ends_at_the_deadline_and_late_answers_go_nowhere(kernel, channel):
    with pytest.raises(OSError) as raised:
        channel.batch([(5, b"")])
    assert raised.value.errno == errno.ETIMEDOUT
    assert len(kernel.ends) == 2
    with pytest.raises(OSError):
        kernel.ends[0].send(status(2))
    kernel.answer(status(4))
    assert channel.batch([(5, b"")]) == [0]


def test_chatter_that_never_ends_does_not_outlast_the_deadline(kernel, channel, monkeypatch):
    clock = iter([0.0, 0.01, 0.02, 1.0])
    monkeypatch.setattr(netlink_channel.time, "monotonic", lambda: next(clock))
    for _ in range(5):
        kernel.answer(row(77, b"what"))
    with pytest.raises(OSError) as raised:
        channel.ask(4, b"", bytes)
    assert raised.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize("answer", [b"\0", bytes(16), status(1)[:-1], message(ERROR, 1), row(1, b"odd.")[:-2]])
def test_answers_that_make_no_sense_are_an_error(kernel, channel, answer):
    kernel.answer(answer)
    with pytest.raises(OSError) as raised:
        channel.ask(4, b"", bytes)
    assert raised.value.errno == errno.EBADMSG
    assert len(kernel.ends) == 2


def test_an_answer_that_cannot_be_decoded_is_an_error(kernel, channel):
    kernel.answer(row(1, b"odd."), status(1))
    with pytest.raises(OSError) as raised:
        channel.ask(4, b"", int)
    assert raised.value.errno == errno.EBADMSG


def test_sequence_numbers_begin_anew_before_they_end(kernel, channel):
    channel._sequence = 2**31
    kernel.answer(status(1))
    assert channel.ask(4, b"", bytes) == []


@given(st.binary(max_size=200))
def test_hostile_messages_are_cut_or_refused(data):
    try:
        found = list(answers(memoryview(data)))
    except ValueError:
        return
    assert sum(16 + len(answer.body) for answer in found) <= len(data)
