"""What the kernel answers over netlink: `netlink-payload` is one answer's attributes, `netlink` whole datagrams."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EBADMSG, ENOBUFS, ETIMEDOUT
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from clusterf.ipvs.netlink import channel, destinations, family
from clusterf.ipvs.netlink.attributes import HEADER, NESTED, attribute, attributes
from clusterf.ipvs.netlink.channel import Channel
from clusterf.ipvs.netlink.daemons import decode_daemon, encode_daemon
from clusterf.ipvs.netlink.destinations import decode_connections, decode_destination, encode_destination
from clusterf.ipvs.netlink.services import decode_virtual, encode_key, encode_step
from clusterf.ipvs.table import Op, Step
from tests.fuzz.invariants import assert_printable
from tests.fuzz.mutate import in_parts, mutate_bytes
from tests.fuzz.target import Target, parts, targets

__all__ = ["TARGETS", "mutate_attributes"]

FAMILY = 0x1C


def mutate_attributes(data: bytes, rng: Random) -> bytes:
    """Change attributes, and keep their sizes true."""
    try:
        found = attributes(data)
    except ValueError:
        return mutate_bytes(data, rng)
    if not found or rng.random() < 0.15:
        return mutate_bytes(data, rng)
    items, out = list(found.items()), b""
    at, other = rng.randrange(len(items)), rng.randrange(len(items))
    if rng.random() < 0.2:
        items[at], items[other] = items[other], items[at]
    for number, (before, content) in enumerate(items):
        kind, payload = before, content
        nested = len(payload) >= 8 and _nests(payload)
        if number == at:
            match rng.randrange(7):
                case 0:
                    continue
                case 1:
                    kind = rng.randrange(20)
                case 2:
                    out += attribute(kind | (NESTED if nested else 0), payload)
                case _:
                    payload = mutate_attributes(payload, rng) if nested else mutate_bytes(payload, rng)
        out += attribute((kind & 0x3FFF) | (NESTED if nested else 0), payload[:60000])
    return out


def _nests(payload: bytes) -> bool:
    with suppress(ValueError):
        return bool(attributes(payload))
    return False


def _payload(data: bytes) -> str:
    """Check each decoder: a value, whose encoding is decoded to the same, or a ValueError."""
    taken = []
    for decode, check in _DECODERS.items():
        try:
            found = decode(data)
        except ValueError as error:
            assert_printable(str(error))
            continue
        taken.append(decode.__name__)
        check(data, found)
    return ", ".join(taken) or "malformed"


def _check_virtual(_: bytes, found: Any) -> None:
    if found is None:
        return
    virtual, settings = found
    if virtual.protocol is None or virtual.address is None or settings.scheduler:
        _, payload = encode_step(Step(Op.ADD_VIRTUAL, virtual, settings=settings))
        assert decode_virtual(payload) == (virtual, settings)
    encode_key(virtual)


def _check_destination(data: bytes, found: Any) -> None:
    with suppress(ValueError, KeyError):  # in attributes that are not read
        after = attributes(data[destinations._DUMPED.size :])
        # (of one that is there twice, the first is decoded by offsets, the last by attributes)
        if after.keys().isdisjoint(destinations._Dest):
            assert destinations._decode_any(data) == found, "by offsets and by attributes: different"
    assert decode_destination(encode_destination(*found)) == found


def _check_daemon(_: bytes, found: Any) -> None:
    assert_printable(found.interface)
    again = decode_daemon(encode_daemon(found))
    assert (again.role, again.syncid) == (found.role, found.syncid)


_DECODERS: dict[Callable[[bytes], Any], Callable[[bytes, Any], None]] = {
    decode_virtual: _check_virtual,
    decode_destination: _check_destination,
    decode_connections: lambda data, found: None,
    decode_daemon: _check_daemon,
    family._decode: lambda data, found: None,
}


class _Socket:
    """Answers with these datagrams, then with nothing, and time passes."""

    def __init__(self, datagrams: Iterator[bytes], clock: "_Clock") -> None:
        self._datagrams, self._clock = datagrams, clock

    def send(self, data: bytes, flags: int) -> int:
        return len(data)

    def recv_into(self, buffer: memoryview, size: int, flags: int) -> int:
        data = next(self._datagrams, None)
        if data is None:
            self._clock.now += 100
            raise BlockingIOError
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None: ...


class _Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def _datagrams(data: bytes) -> str:
    """Check that whatever datagrams come, a query has a result or an OSError, and the channel goes on."""
    head, *datagrams = parts(data)
    clock = _Clock()
    asked: list[_Socket] = []

    def connect() -> _Socket:
        asked.append(_Socket(iter(datagrams if not asked else ()), clock))
        return asked[-1]

    with (
        patch.object(channel, "_connect", connect),
        patch.object(channel, "time", SimpleNamespace(monotonic=clock.monotonic)),
        patch.object(Channel, "_wait", lambda *_: None),
    ):
        ours = Channel(FAMILY, 10.0)
        try:
            return _query(ours, head)
        except OSError as error:
            _check_error(error, renewed=len(asked) == 2)
            return f"errno {error.errno}"


def _check_error(error: OSError, *, renewed: bool) -> None:
    assert_printable(str(error))
    assert renewed or error.errno not in (EBADMSG, ENOBUFS, ETIMEDOUT), "late answers could reach the next query"


def _query(ours: Channel, head: bytes) -> str:
    decode = list(_DECODERS)[len(head) % len(_DECODERS)]
    if head.startswith(b"ask"):
        return f"{min(len(ours.ask(1, b'', decode)), 3)} answers"
    if head.startswith(b"batch"):
        errors = ours.batch([(1, b"")] * (1 + len(head) % 5))
        assert len(errors) == 1 + len(head) % 5
        assert all(0 <= error <= 4095 for error in errors)
        return "errors" if any(errors) else "done"
    return f"{min(len(ours.dump(1, b'', decode)), 3)} dumped"


def mutate_datagram(data: bytes, rng: Random) -> bytes:
    """Change a datagram: its attributes, or a field of a header with the size kept true."""
    header = channel._HEADER
    if len(data) < header.size or rng.random() < 0.3:
        return mutate_bytes(data, rng)
    fields = list(header.unpack_from(data))
    body = data[header.size :]
    match rng.randrange(3):
        case 0:
            at = rng.randrange(1, 4)
            fields[at] = rng.choice((0, 1, 2, 3, 4, FAMILY, 5, 0xFFFF, 0x10))
        case 1 if len(body) > 4:
            body = body[:4] + mutate_attributes(body[4:], rng)
        case _:
            body = mutate_bytes(body, rng)
    return header.pack(header.size + len(body), *fields[1:]) + body


_MODULES = tuple(f"clusterf.ipvs.netlink.{name}" for name in ("attributes", "destinations", "services", "daemons"))
TARGETS = targets(
    {
        "netlink-payload": Target(_payload, _MODULES, mutate_attributes),
        "netlink": Target(_datagrams, ("clusterf.ipvs.netlink.channel",), in_parts(mutate_datagram)),
    }
)
assert HEADER.size == 4
