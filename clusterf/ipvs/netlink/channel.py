"""Requests to one generic netlink family, many in one send, and their answers.

A round trip through the kernel costs far more than a request, and the kernel
answers every request that it refuses, also without being asked for an
acknowledgement. So a batch asks for one only, after its last request: every
request that was not refused until then is done (`netlink_rcv_skb` in
`net/netlink/af_netlink.c`). Formats: `include/uapi/linux/netlink.h` and
`genetlink.h`.
"""

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from struct import Struct
from typing import NamedTuple, TypeVar

__all__ = ["Answer", "Channel", "answers"]

T = TypeVar("T")

_NETLINK_GENERIC = 16
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10  # a refusal does not repeat the request
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33

_NOOP, _ERROR, _DONE, _OVERRUN = 1, 2, 3, 4
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_DUMP_INTERRUPTED = 0x10

_HEADER = Struct("=IHHII")  # size, type, flags, sequence, port
_MESSAGE = Struct("=IHHIIBBH")  # and the generic header: command, version, reserved
_GENERIC_SIZE = _MESSAGE.size - _HEADER.size
_STATUS = Struct("=i")
_MAX_ERRNO = 4095
_VERSION = 1

# About 32 KiB. The refusals of all of them still fit into the queue that an unprivileged process gets.
_SEND_REQUESTS = 256
_BUFFER_BYTES = 256 << 10
_QUEUE_BYTES = 4 << 20
_SEQUENCES = 1 << 31
_DUMP_ATTEMPTS = 5

# with MSG_TRUNC the size of a message is returned although it was cut to the buffer
_RECEIVE_FLAGS = socket.MSG_DONTWAIT | socket.MSG_TRUNC


class Answer(NamedTuple):
    """One message from the kernel; `body` is valid until the next is received."""

    kind: int
    flags: int
    sequence: int
    body: memoryview


class Channel:
    """A socket for the requests of one family, by its number, which may be changed.

    Every method may raise OSError: ETIMEDOUT when the kernel's answers are not complete
    `deadline` seconds after a send, EBADMSG when they are malformed, ENOBUFS when
    some were lost. Then it is unknown what was done, and the channel continues with
    a new socket, where late answers cannot arrive.
    """

    def __init__(self, family: int, deadline: float) -> None:
        self.family = family
        self._deadline = deadline
        self._sequence = 0
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._socket = _connect()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, command: int, payload: bytes, decode: Callable[[bytes], T]) -> list[T]:
        """Return the decoded answers to one request.

        Raises OSError with the kernel's errno if it refuses. A ValueError of
        `decode` becomes EBADMSG.
        """
        found, _ = self._query(command, payload, decode, _REQUEST | _ACK)
        return found

    def dump(self, command: int, payload: bytes, decode: Callable[[bytes], T]) -> list[T]:
        """Return the decoded answers to a dump request, as `ask` does.

        A dump that the kernel marks as inconsistent is repeated; EAGAIN if each
        one is.
        """
        for _ in range(_DUMP_ATTEMPTS):
            found, interrupted = self._query(command, payload, decode, _REQUEST | _DUMP)
            if not interrupted:
                return found
        raise OSError(errno.EAGAIN, "the table changed during each dump of it")

    def batch(self, requests: Iterable[tuple[int, bytes]]) -> list[int]:
        """Send (command, payload) requests in order; return an errno for each, 0 for success."""
        return [error for send in _sends(requests) for error in self._batch(send)]

    def _batch(self, requests: list[tuple[int, bytes]]) -> list[int]:
        first = self._reserve(len(requests) + 1)
        last = first + len(requests)
        messages = [
            _message(self.family, command, payload, sequence, _REQUEST)
            for sequence, (command, payload) in enumerate(requests, first)
        ]
        messages.append(_HEADER.pack(_HEADER.size, _NOOP, _REQUEST | _ACK, last, 0))
        errors = [0] * (len(requests) + 1)

        def take(answer: Answer) -> None:
            if answer.kind != _ERROR:
                raise ValueError(f"netlink message of type {answer.kind} in answer to a change")
            errors[answer.sequence - first] = _status(answer)

        self._exchange(b"".join(messages), first, last, take)
        return errors[:-1]

    def _query(self, command: int, payload: bytes, decode: Callable[[bytes], T], flags: int) -> tuple[list[T], bool]:
        sequence = self._reserve(1)
        found: list[T] = []
        family, error, interrupted = self.family, 0, False

        def take(answer: Answer) -> None:
            nonlocal error, interrupted
            kind, mark, _, body = answer
            interrupted |= bool(mark & _DUMP_INTERRUPTED)
            if kind == family and len(body) >= _GENERIC_SIZE:
                found.append(decode(bytes(body[_GENERIC_SIZE:])))
            elif kind in (_ERROR, _DONE):
                error = _status(answer)
                if kind == _ERROR and not error and flags & _DUMP:
                    raise ValueError("netlink dump without an end")
            else:
                raise ValueError(f"netlink message of type {kind} with {len(body)} bytes")

        self._exchange(_message(self.family, command, payload, sequence, flags), sequence, sequence, take)
        if error:
            raise OSError(error, os.strerror(error))
        return found, interrupted

    def _reserve(self, count: int) -> int:
        """Return the first of `count` unused sequence numbers."""
        first = self._sequence % _SEQUENCES + 1
        self._sequence = first + count - 1
        return first

    def _exchange(self, data: bytes, first: int, last: int, take: Callable[[Answer], None]) -> None:
        """Send `data` and `take` each answer to `first`..`last`, until the last one to `last`."""
        try:
            self._socket.send(data, socket.MSG_DONTWAIT)
            # only now: the kernel may take long within the send, as to load modules
            until = time.monotonic() + self._deadline
            while True:
                for answer in answers(self._receive(until)):
                    kind, _, sequence, _ = answer
                    if kind == _OVERRUN:
                        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
                    if first <= sequence <= last and kind != _NOOP:
                        take(answer)
                        if sequence == last and kind in (_DONE, _ERROR):
                            return
        except ValueError as error:
            self._reopen()
            raise OSError(errno.EBADMSG, str(error)) from error
        except BaseException:
            # answers that are still to come must not reach the next exchange
            self._reopen()
            raise

    def _receive(self, until: float) -> memoryview:
        """Return the next datagram, which as a rule is there: the kernel does most of its work within the send."""
        while (remaining := until - time.monotonic()) > 0:
            try:
                size = self._socket.recv_into(self._buffer, 0, _RECEIVE_FLAGS)
            except BlockingIOError:
                self._wait(remaining)
                continue
            if not _HEADER.size <= size <= len(self._buffer):
                raise ValueError(f"netlink datagram of {size} bytes")
            return self._buffer[:size]
        raise TimeoutError(errno.ETIMEDOUT, "the kernel timed out")

    def _wait(self, seconds: float) -> None:
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        waiting.poll(seconds * 1000)

    def _reopen(self) -> None:
        self._socket.close()
        self._socket = _connect()


def answers(data: memoryview) -> Iterator[Answer]:
    """Yield the messages of one datagram. Raises ValueError where it is malformed."""
    unpack, header = _HEADER.unpack_from, _HEADER.size
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < header:
            raise ValueError(f"netlink message of {end - offset} bytes")
        size, kind, flags, sequence, _ = unpack(data, offset)
        if not header <= size <= end - offset:
            raise ValueError(f"netlink message of {size} bytes in {end - offset}")
        yield Answer(kind, flags, sequence, data[offset + header : offset + size])
        offset += (size + 3) & ~3


def _sends(requests: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Split requests into one list for each send."""
    remaining = iter(requests)
    while send := list(islice(remaining, _SEND_REQUESTS)):
        yield send


def _message(family: int, command: int, payload: bytes, sequence: int, flags: int) -> bytes:
    return _MESSAGE.pack(_MESSAGE.size + len(payload), family, flags, sequence, 0, command, _VERSION, 0) + payload


def _status(answer: Answer) -> int:
    """Return the errno that an ERROR or DONE message carries, 0 for success."""
    if len(answer.body) < _STATUS.size:
        raise ValueError("netlink status without a number")
    error = -int(_STATUS.unpack_from(answer.body)[0])
    if not 0 <= error <= _MAX_ERRNO:
        raise ValueError(f"netlink status {-error}")
    return error


def _connect() -> socket.socket:
    """Return a socket that is connected, so that only the kernel can write to it, with long queues."""
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
    try:
        channel.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        for forced, granted in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                channel.setsockopt(socket.SOL_SOCKET, forced, _QUEUE_BYTES)
            except PermissionError:
                channel.setsockopt(socket.SOL_SOCKET, granted, _QUEUE_BYTES)
        channel.connect((0, 0))
    except OSError:
        channel.close()
        raise
    return channel
