"""Replies of etcd as bytes of protobuf: `etcd` to the calls of a client, `watch` on its watch."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from unittest.mock import patch

import grpc
from google.protobuf.message import DecodeError

from clusterf.etcd import client as clients
from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdCredentials, EtcdLocation
from clusterf.etcd.stubs import etcdrpc
from clusterf.lib.store import Store
from clusterf.sources.last_good import LastGood, describe
from clusterf.sources.lineage import Lineage
from clusterf.sources.source_record import SourceRecord
from tests.fuzz.invariants import assert_printable, logged
from tests.fuzz.mutate import NUMBERS, TOKENS, Mutate, in_parts, mutate_bytes
from tests.fuzz.target import Target, parts, targets

__all__ = ["CALLS", "PREFIX", "TARGETS", "URL"]

URL = "etcd://127.0.0.1:2379/clusterf"
PREFIX = b"/clusterf/"
LOCATION = EtcdLocation(endpoints=("127.0.0.1:2379",), prefix=PREFIX)
USER = EtcdLocation(endpoints=("127.0.0.1:2379",), prefix=PREFIX, credentials=EtcdCredentials(user="u"))
PUTS = [(b"services/web/backends/b1", b"{}"), (b"routes/r1", b"{}")]


class _Failed(grpc.RpcError):
    """A call that failed: with what etcd says, or because its reply is no message."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__()
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


class _Channel:
    """A channel to an etcd that replies with these bytes, one after the other, whatever it is asked."""

    def __init__(self, replies: list[bytes]) -> None:
        self._replies = iter(replies)

    def unary_unary(self, _: str, request_serializer: Any, response_deserializer: Any, **__: Any) -> Callable[..., Any]:
        def call(request: Any, *, metadata: Any = (), **_: Any) -> Any:
            request_serializer(request)
            _check_metadata(metadata)
            return self._next(response_deserializer)

        return call

    def stream_stream(
        self, _: str, request_serializer: Any, response_deserializer: Any, **__: Any
    ) -> Callable[..., Any]:
        def call(requests: Any, *, metadata: Any = (), **_: Any) -> "_Stream":
            request_serializer(next(requests))
            _check_metadata(metadata)
            return _Stream(lambda: self._next(response_deserializer))

        return call

    def _next(self, deserialize: Callable[[bytes], Any]) -> Any:
        data = next(self._replies, None)
        if data is None:
            raise _Failed(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if data.startswith(b"error "):
            _, number, text = (data + b"  ").split(b" ", 2)
            codes = list(grpc.StatusCode)
            raise _Failed(
                codes[int(number) % len(codes) if number.isdigit() else 2], text.strip().decode(errors="replace")
            )
        try:
            return deserialize(data)
        except DecodeError:
            raise _Failed(grpc.StatusCode.INTERNAL, "Exception deserializing response!") from None

    def close(self) -> None: ...


class _Stream:
    def __init__(self, next_reply: Callable[[], Any]) -> None:
        self._next_reply = next_reply

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield self._next_reply()

    def add_done_callback(self, _: Any) -> None: ...

    cancel = lambda self: None  # noqa: E731


def _check_metadata(metadata: Any) -> None:
    """Refuse what grpc refuses, with another error than RpcError."""
    for name, value in metadata:
        assert value.isascii(), f"grpc takes no such {name}: {value!a}"
        assert value.isprintable(), f"grpc takes no such {name}: {value!a}"


def _list(client: Client) -> str:
    """Do what a follower does with a list."""
    listing = client.list()
    store = Store(None)
    last_good, lineage = LastGood(URL, store), Lineage(SourceRecord(URL, store), 0)
    for item in listing.items:
        for line in describe(last_good.put(*item)):
            assert_printable(line)
    lineage.judge(listing.cluster, listing.revision, lambda: True)
    assert listing.revision > 0
    assert len({item.path for item in listing.items}) == len(listing.items)
    client.watch(listing.revision + 1)
    return f"{min(len(listing.items), 5)} keys"


CALLS: dict[bytes, Callable[[Client], object]] = {
    b"list": _list,
    b"paths": lambda client: {type(path) for path in client.paths(7)} <= {bytes} and "paths",
    b"transact": lambda client: client.transact(PUTS, [b"health"], 99) > 0 and "transacted",
    b"leased": lambda client: {type(path) for path in client.leased(99)} <= {bytes} and "leased",
    b"time": lambda client: min(client.time_to_live(99)) >= 0 and "time",
    b"grant": lambda client: client.grant(15) > 0 and "granted",
    b"keep": lambda client: client.keep_alive(99) >= 0 and "kept",
    b"revoke": lambda client: client.revoke(99) is None and "revoked",
    b"login": _list,
}


def _etcd(data: bytes) -> str:
    """Check that a call has a result that can be, or is an EtcdError in one line."""
    call, *replies = parts(data)
    if call not in CALLS:
        return "no call"
    with logged(), patch.object(clients, "open_channel", lambda *_: _Channel(replies)):
        try:
            client = Client(USER if call == b"login" else LOCATION, "127.0.0.1:2379")
            outcome = CALLS[call](client)
        except EtcdError as error:
            _check_error(error)
            return f"{call.decode()}: error"
    assert outcome, "a result that cannot be"
    return str(outcome)


def _check_error(error: EtcdError) -> None:
    assert str(error)
    assert_printable(str(error))


def _watch(data: bytes) -> str:
    """Check that events have keys below the prefix and revisions that rise, until an EtcdError."""
    last, count = 5, 0
    with logged(), patch.object(clients, "open_channel", lambda *_: _Channel(parts(data))):
        watch = Client(LOCATION, "127.0.0.1:2379").watch(5)
        last_good = LastGood(URL, Store(None))
        try:
            for events in watch:
                for event in events:
                    assert event.revision >= last, "a revision that falls"
                    last, count = event.revision, count + 1
                    for line in describe(last_good.put(event.path, event.value)):
                        assert_printable(line)
        except EtcdError as error:
            _check_error(error)
    return f"{min(count, 5)} events"


def mutate_message(*kinds: Any) -> Mutate:
    """Return a mutator of the bytes of messages of one of these kinds, which stay messages."""

    def mutate(data: bytes, rng: Random) -> bytes:
        if rng.random() < 0.15:
            return mutate_bytes(data, rng)
        message = rng.choice(kinds)()
        try:
            message.ParseFromString(data)
        except DecodeError:
            return mutate_bytes(data, rng)
        _change(message, rng)
        return bytes(message.SerializeToString())

    return mutate


def _change(message: Any, rng: Random) -> None:
    """Change a field of a message, or of one in it."""
    field = rng.choice(message.DESCRIPTOR.fields)
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
    if repeated:
        found = getattr(message, field.name)
        match rng.randrange(4):
            case 0 if len(found):
                del found[rng.randrange(len(found))]
            case 1 if field.message_type is not None and len(found):
                found.add().CopyFrom(rng.choice(list(found)))
            case 2 if field.message_type is not None:
                _change(rng.choice(list(found)) if len(found) else found.add(), rng)
            case _ if field.message_type is None:
                found.append(_scalar(field, found[0] if len(found) else None, rng))
    elif field.message_type is not None:
        if rng.random() < 0.1:
            message.ClearField(field.name)
        else:
            _change(getattr(message, field.name), rng)
    else:
        try:
            setattr(message, field.name, _scalar(field, getattr(message, field.name), rng))
        except ValueError:
            message.ClearField(field.name)  # a number that does not fit


def _scalar(field: Any, old: Any, rng: Random) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        base = old.encode() if isinstance(old, str) else old or PREFIX + b"routes/r9"
        new = mutate_bytes(base, rng) if rng.random() < 0.7 else PREFIX + rng.choice(TOKENS)
        return new if field.type == field.TYPE_BYTES else new.decode(errors="replace")
    return rng.choice((True, False)) if field.cpp_type == field.CPPTYPE_BOOL else rng.choice(NUMBERS)


_REPLIES = (
    etcdrpc.RangeResponse,
    etcdrpc.TxnResponse,
    etcdrpc.LeaseGrantResponse,
    etcdrpc.LeaseKeepAliveResponse,
    etcdrpc.LeaseTimeToLiveResponse,
)
_ERRORS = [
    b"error 11 etcdserver: mvcc: required revision has been compacted",
    b"error 5 lease \x1b[2J not found",
    b"error 8 larger than max (99999999 vs. 4)",
]
TARGETS = targets(
    {
        "etcd": Target(
            _etcd,
            (
                "clusterf.etcd.client",
                "clusterf.etcd.pages",
                "clusterf.etcd.replies",
                "clusterf.etcd.transactions",
                "clusterf.etcd.errors",
            ),
            in_parts(mutate_message(*_REPLIES), also=[*_ERRORS, *CALLS]),
        ),
        "watch": Target(
            _watch,
            ("clusterf.etcd.watch", "clusterf.etcd.errors"),
            in_parts(mutate_message(etcdrpc.WatchResponse), also=_ERRORS),
        ),
    }
)
