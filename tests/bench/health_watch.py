"""Probes as seen in the network: how many, and when each began.

A TCP probe may end before its target's program accepts it, so packets are counted,
in a network namespace in which nothing else opens connections.
"""

import ctypes
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["connects", "lags", "observer", "watch"]

_IPV4 = 0x0800  # with this type a packet is seen once on loopback; with all types, twice
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35
_ROOM = 1 << 28  # bytes of buffer for packets that are not read yet
_PAUSE = 0.5  # seconds between reads
# a BPF program for packets from the IPv4 header on: the first 20 bytes of those with SYN and without ACK
_SYN = [
    *((0x30, 0, 0, 9), (0x15, 0, 4, socket.IPPROTO_TCP)),
    *((0x30, 0, 0, 33), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02)),
    *((0x06, 0, 0, 20), (0x06, 0, 0, 0)),
]


def connects() -> int:
    """Return how many connections were opened in this thread's network namespace."""
    names, values = (
        line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(values[names.index("ActiveOpens")])


def observer() -> socket.socket:
    """Return a socket to `watch` this thread's network namespace with.

    Only then does the kernel note when each packet came. Before, it is told when it was looked at.
    """
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    _filter(packets)
    packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    packets.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return packets


def watch(packets: socket.socket, seconds: float) -> dict[bytes, list[float]]:
    """Watch for `seconds`; return when connections were opened, by destination address."""
    seen: dict[bytes, list[float]] = {}
    packets.bind(("lo", _IPV4))
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _PAUSE))
        _take(packets, seen)
    return seen


def lags(seen: Mapping[bytes, Sequence[float]], interval: float) -> list[float]:
    """Return how late each probe was, in seconds, on its target's grid of `interval`, set by the earliest probe."""
    return [lag for times in seen.values() for lag in _lags(times, interval)]


def _lags(times: Sequence[float], interval: float) -> list[float]:
    offsets = [(at - times[0] + interval / 2) % interval for at in times]
    return [offset - min(offsets) for offset in offsets]


def _filter(packets: socket.socket) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _SYN))
    program = struct.pack("HP", len(_SYN), ctypes.addressof(code))
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _take(packets: socket.socket, seen: dict[bytes, list[float]]) -> None:
    while True:
        try:
            packet, [(_, _, stamp)], _, _ = packets.recvmsg(20, 64)
        except BlockingIOError:
            return
        seconds, nanoseconds = struct.unpack("qq", stamp)
        seen.setdefault(packet[16:20], []).append(seconds + nanoseconds / 1e9)
