import concurrent.futures
import contextlib
import errno
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.ipvs.netlink import channel as channel_module
from clusterf.ipvs.netlink.channel import Channel, answers

NOOP, ERROR, DONE, OVERRUN, FAMILY = 1, 2, 3, 4, 30
INTERRUPTED = 0x10


class FakeKernel:
    """The other ends of a channel's sockets; answers are sent before the requests."""

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
    monkeypatch.setattr(channel_module, "_connect", kernel.connect)
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


def done(sequence: int, flags: int = 0) -> bytes:
    return message(DONE, sequence, bytes(4), flags)


def row(sequence: int, body: bytes, flags: int = 0) -> bytes:
    return message(FAMILY, sequence, b"\x05\x01\0\0" + body, flags)


def test_one_acknowledgement_is_requested_for_each_send(kernel, channel):
    kernel.answer(status(4))
    assert channel.batch([(5, b"1234"), (5, b"1234"), (6, b"")]) == [0, 0, 0]
    assert kernel.requests() == [(24, FAMILY, 1, 1), (24, FAMILY, 1, 2), (20, FAMILY, 1, 3), (16, 1, 5, 4)]


def test_refusals_belong_to_their_requests(kernel, channel):
    kernel.answer(status(2, errno.EEXIST))
    kernel.answer(status(3, errno.ESRCH), status(4))
    assert channel.batch([(5, b"")] * 3) == [0, errno.EEXIST, errno.ESRCH]


def test_long_batch_is_split_into_sends(kernel, channel):
    kernel.answer(status(1, errno.EEXIST), status(257))
    kernel.answer(status(513, errno.ENOENT), status(514))
    assert channel.batch([(5, b"")] * 512) == [errno.EEXIST, *([0] * 510), errno.ENOENT]
    assert [len(kernel.requests()), len(kernel.requests())] == [257, 257]


def test_answers_to_other_requests_are_skipped(kernel, channel):
    kernel.answer(status(99, errno.EPERM), row(0, b"nope"), row(1, b"yes!"), status(1))
    assert channel.ask(4, b"", bytes) == [b"yes!"]


def test_refused_request_raises_the_errno_of_the_kernel(kernel, channel):
    kernel.answer(status(1, errno.ESRCH))
    with pytest.raises(OSError) as raised:
        channel.ask(4, b"", bytes)
    assert raised.value.errno == errno.ESRCH
    assert len(kernel.ends) == 1


def test_dump_ends_at_the_done_message(kernel, channel):
    kernel.answer(row(1, b"one."), row(1, b"two."))
    kernel.answer(row(1, b"last"), status(1, kind=DONE))
    assert channel.dump(8, b"", bytes) == [b"one.", b"two.", b"last"]
    assert kernel.requests() == [(20, FAMILY, 0x301, 1)]


def test_dump_may_end_with_an_error(kernel, channel):
    kernel.answer(row(1, b"one."), status(1, errno.ENOMEM, DONE))
    with pytest.raises(OSError) as raised:
        channel.dump(8, b"", bytes)
    assert raised.value.errno == errno.ENOMEM


def test_inconsistent_dump_is_repeated(kernel, channel):
    kernel.answer(row(1, b"half", INTERRUPTED), done(1))
    kernel.answer(row(2, b"full"), done(2))
    assert channel.dump(8, b"", bytes) == [b"full"]


def test_dump_that_stays_inconsistent_is_an_error(kernel, channel):
    for sequence in range(1, 6):
        kernel.answer(done(sequence, flags=INTERRUPTED))
    with pytest.raises(OSError) as raised:
        channel.dump(8, b"", bytes)
    assert raised.value.errno == errno.EAGAIN


def test_silence_times_out_and_late_answers_are_lost(kernel, channel):
    with pytest.raises(OSError) as raised:
        channel.batch([(5, b"")])
    assert raised.value.errno == errno.ETIMEDOUT
    assert len(kernel.ends) == 2
    with pytest.raises(OSError):
        kernel.ends[0].send(status(2))
    kernel.answer(status(4))
    assert channel.batch([(5, b"")]) == [0]


def test_endless_answers_time_out(kernel, channel, monkeypatch):
    clock = iter([0.0, 0.01, 0.02, 1.0])
    monkeypatch.setattr(channel_module.time, "monotonic", lambda: next(clock))
    for _ in range(5):
        kernel.answer(row(77, b"what"))
    with pytest.raises(OSError) as raised:
        channel.ask(4, b"", bytes)
    assert raised.value.errno == errno.ETIMEDOUT


def test_slow_send_does_not_time_out(kernel, channel, monkeypatch):
    now, ours = [0.0], channel._socket

    class Working:
        recv_into, fileno, close = ours.recv_into, ours.fileno, ours.close

        def send(self, data: bytes, flags: int) -> int:
            now[0] += 60
            return ours.send(data, flags)

    monkeypatch.setattr(channel_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(channel, "_socket", Working())
    kernel.answer(status(1, errno.ENOENT), status(2))
    assert channel.batch([(5, b"")]) == [errno.ENOENT]


SENSELESS = {
    "a byte": b"\0",
    "a message of no size": bytes(16),
    "a cut acknowledgement": status(1)[:-1],
    "an acknowledgement without a status": message(ERROR, 1),
    "an acknowledgement with half a status": message(ERROR, 1, b"\0\0"),
    "an end with half a status": message(DONE, 1, b"\0\0"),
    "an error that is none": message(ERROR, 1, struct.pack("=i", 5)),
    "an error beyond all": message(ERROR, 1, struct.pack("=i", -(2**31))),
    "a cut answer": row(1, b"odd.")[:-2],
    "an answer without a generic header": message(FAMILY, 1, b"\0\0"),
    "an answer of another family": message(FAMILY + 1, 1, bytes(8)),
    "an answer of a reserved type": message(5, 1, bytes(8)),
}


@pytest.mark.parametrize("answer", SENSELESS.values(), ids=SENSELESS.keys())
def test_malformed_answers_are_an_error(kernel, channel, answer):
    kernel.answer(answer + status(1))
    with pytest.raises(OSError) as raised:
        channel.ask(4, b"", bytes)
    assert raised.value.errno == errno.EBADMSG
    assert len(kernel.ends) == 2


@pytest.mark.parametrize("answer", [done(2), row(1, b"what"), row(2, b"what")])
def test_change_is_answered_with_a_status_only(kernel, channel, answer):
    kernel.answer(answer, status(2))
    with pytest.raises(OSError) as raised:
        channel.batch([(5, b"")])
    assert raised.value.errno == errno.EBADMSG


def test_dump_without_a_done_message_is_an_error(kernel, channel):
    kernel.answer(status(1))
    with pytest.raises(OSError) as raised:
        channel.dump(8, b"", bytes)
    assert raised.value.errno == errno.EBADMSG


def test_message_that_does_not_fit_the_buffer_is_an_error(kernel, channel, monkeypatch):
    # (cut where one message ends and the next begins, so that it looks whole)
    monkeypatch.setattr(channel, "_buffer", memoryview(bytearray(len(row(1, b"one.")))))
    kernel.answer(row(1, b"one."), row(1, b"two."))
    kernel.answer(done(1))
    with pytest.raises(OSError, match="48 bytes") as raised:
        channel.dump(8, b"", bytes)
    assert raised.value.errno == errno.EBADMSG


def test_overrun_is_an_error(kernel, channel):
    kernel.answer(message(OVERRUN, 0), status(2))
    with pytest.raises(OSError) as raised:
        channel.batch([(5, b"")])
    assert raised.value.errno == errno.ENOBUFS
    assert len(kernel.ends) == 2


def test_noop_message_is_skipped(kernel, channel):
    kernel.answer(message(NOOP, 1), row(1, b"yes!"), message(NOOP, 1), status(1))
    assert channel.ask(4, b"", bytes) == [b"yes!"]


def test_answers_may_arrive_in_pieces_before_the_deadline(kernel):
    channel = Channel(FAMILY, 30)
    pieces = [row(1, b"one."), row(1, b"two."), done(1)]

    def answer() -> None:
        kernel.requests()
        for piece in pieces:
            kernel.answer(piece)

    with concurrent.futures.ThreadPoolExecutor() as threads:
        answered = threads.submit(answer)
        assert channel.dump(8, b"", bytes) == [b"one.", b"two."]
        answered.result()
    channel.close()


def test_answers_to_an_earlier_exchange_are_skipped(kernel, channel):
    kernel.answer(status(1))
    channel.ask(4, b"", bytes)
    kernel.answer(row(1, b"late"), status(1, errno.EPERM), row(2, b"mine"), status(2))
    assert channel.ask(4, b"", bytes) == [b"mine"]


def test_interrupted_exchange_leaves_nothing_to_the_next(kernel, channel):
    def broken_off(payload: bytes) -> bytes:
        raise KeyboardInterrupt

    kernel.answer(row(1, b"one."))
    with pytest.raises(KeyboardInterrupt):
        channel.dump(8, b"", broken_off)
    kernel.answer(done(2))
    assert channel.dump(8, b"", bytes) == []
    assert len(kernel.ends) == 2


def test_full_queue_is_an_error_at_once(kernel, channel):
    filler = bytes(1000)
    with contextlib.suppress(BlockingIOError):
        while True:
            channel._socket.send(filler, socket.MSG_DONTWAIT)
    with pytest.raises(OSError) as raised:
        channel.batch([(5, b"")])
    assert raised.value.errno == errno.EAGAIN
    kernel.answer(status(4))
    assert channel.batch([(5, b"")]) == [0]


def test_channel_recovers_when_a_socket_can_be_opened_again(kernel, channel, monkeypatch):
    def none_left() -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    kernel.ends[0].close()
    with monkeypatch.context() as full:
        full.setattr(channel_module, "_connect", none_left)
        for _ in range(2):
            with pytest.raises(OSError):
                channel.batch([(5, b"")])
    with pytest.raises(OSError):
        channel.batch([(5, b"")])
    kernel.answer(status(8))
    assert channel.batch([(5, b"")]) == [0]


def test_answer_that_cannot_be_decoded_is_an_error(kernel, channel):
    kernel.answer(row(1, b"odd."), status(1))
    with pytest.raises(OSError) as raised:
        channel.ask(4, b"", int)
    assert raised.value.errno == errno.EBADMSG


def test_sequence_numbers_wrap_around(kernel, channel):
    channel._sequence = 2**31
    kernel.answer(status(1))
    assert channel.ask(4, b"", bytes) == []


@given(st.binary(max_size=200))
def test_random_messages_are_split_or_malformed(data):
    try:
        found = list(answers(memoryview(data)))
    except ValueError:
        return
    assert sum(16 + len(answer.body) for answer in found) <= len(data)
