"""The lower limit: messages that were encoded beforehand are only sent.

A socket without Python's timeouts, which ask the kernel once more before each
call, and no look at what was sent.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from struct import Struct
from typing import NamedTuple

from clusterf.ipvs.netlink.family import find_family
from clusterf.ipvs.netlink.services import encode_step
from clusterf.ipvs.table import Step

__all__ = ["Send", "acknowledged", "batched", "write"]

_NETLINK_GENERIC = 16
_SOL_NETLINK, _CAP_ACK = 270, 10
_SO_RCVBUFFORCE = 33
_NOOP = 1
_REQUEST, _ACK = 0x1, 0x4
_HEADER = Struct("=IHHII")  # size, type, flags, sequence, port
_MESSAGE = Struct("=IHHIIBBH")  # and the generic header: command, version, reserved
_STATUS = slice(_HEADER.size, _HEADER.size + 4)
_TIMEVAL = Struct("=qq")

_SEND_BYTES = 32 << 10
_BATCH = 256
_QUEUE_BYTES = 4 << 20
_DEADLINE = 10  # seconds


class Send(NamedTuple):
    """Bytes that are sent at once, and the number of answers to them."""

    data: bytes
    answers: int


def acknowledged(steps: Iterable[Step]) -> list[Send]:
    """Return messages with an answer to each, in parts of 32 KiB."""
    family = find_family(_DEADLINE)
    sends: list[Send] = []
    messages: list[bytes] = []
    size = 0
    for step in steps:
        message = _message(family, step, _REQUEST | _ACK)
        if size + len(message) > _SEND_BYTES:
            sends.append(Send(b"".join(messages), len(messages)))
            messages, size = [], 0
        messages.append(message)
        size += len(message)
    return [*sends, Send(b"".join(messages), len(messages))]


def batched(steps: Iterable[Step]) -> list[Send]:
    """Return messages with one answer to each 256, as a node sends them."""
    family = find_family(_DEADLINE)
    last = _HEADER.pack(_HEADER.size, _NOOP, _REQUEST | _ACK, 0, 0)
    return [Send(b"".join(_message(family, step, _REQUEST) for step in part) + last, 1) for part in _parts(iter(steps))]


def write(sends: Iterable[Send]) -> float:
    """Send everything, and return the seconds it took. Raises OSError if the kernel refuses a message."""
    answer = bytearray(64 << 10)
    with _connect() as channel:
        began = time.perf_counter()
        for data, answers in sends:
            channel.send(data)
            for _ in range(answers):
                channel.recv_into(answer)
                if any(answer[_STATUS]):
                    code = -int.from_bytes(answer[_STATUS], "little", signed=True)
                    raise OSError(code, os.strerror(code))
        return time.perf_counter() - began


def _parts(steps: Iterator[Step]) -> Iterator[list[Step]]:
    while part := list(islice(steps, _BATCH)):
        yield part


def _message(family: int, step: Step, flags: int) -> bytes:
    command, payload = encode_step(step)
    return _MESSAGE.pack(_MESSAGE.size + len(payload), family, flags, 0, 0, command, 1, 0) + payload


def _connect() -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC)
    channel.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
    channel.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE_BYTES)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(_DEADLINE, 0))
    channel.connect((0, 0))
    return channel
