"""A thin client of etcd v3, one endpoint at a time: list, watch, transactions and leases.

It has no retries and no state but a token: whoever uses it drops it on any
`EtcdError`, takes the next endpoint and begins anew. Every call has a deadline.
"""

import os
import ssl
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Self

import grpc

from clusterf.etcd_rpc import etcdrpc
from clusterf.location import Location

__all__ = ["OPERATIONS", "Client", "EtcdError", "Event", "KeyValue", "Listing", "Watch", "prefix_end"]

_PAGE = 1000  # keys of a list request
_DEADLINE = 5.0  # seconds of a call
OPERATIONS = 126  # that etcd takes in a transaction: of its 128 (--max-txn-ops), two are what a claim has inside
# "progress_request" of a WatchRequest, which etcd has had since 3.4, after etcd3's description of it was made
_PROGRESS_REQUEST = b"\x1a\x00"
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # a server that hangs answers no pings either; etcd hangs up on who pings more often than every 5 seconds,
    # and on who pings while nothing is asked
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 5000),  # else a minute, whatever the line before says
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # the proxy that the environment names is for the web
    ("grpc.enable_http_proxy", 0),
    # who tries again, when and where is not for grpc to say
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class EtcdError(Exception):
    """etcd did not do what was asked; the text says why.

    `compacted`: the revision is no longer there; `lease_gone`: the lease is not.
    """

    def __init__(self, reason: str, *, compacted: bool = False, lease_gone: bool = False) -> None:
        super().__init__(reason)
        self.compacted = compacted
        self.lease_gone = lease_gone


class KeyValue(NamedTuple):
    """A key below the prefix, without it, and its value."""

    path: bytes
    value: bytes


class Event(NamedTuple):
    """A key below the prefix, without it, and its value since `revision`; None: it was deleted."""

    path: bytes
    value: bytes | None
    revision: int


class Listing(NamedTuple):
    """All keys below the prefix at `revision`."""

    items: list[KeyValue]
    revision: int


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key after all that begin with `prefix`, which ends with a slash."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class Client:
    """A connection to one endpoint. Use it as a context manager. Every method raises EtcdError."""

    def __init__(self, location: Location, endpoint: str, deadline: float = _DEADLINE) -> None:
        """Begin to connect; with a user, authenticate. A call may take `deadline` seconds."""
        self._prefix = location.prefix
        self._deadline = deadline
        self.endpoint = endpoint
        self._metadata: list[tuple[str, str]] = []
        self._channel = _channel(location, endpoint)
        self._kv = etcdrpc.KVStub(self._channel)
        self._lease = etcdrpc.LeaseStub(self._channel)
        try:
            if location.access.user is not None:
                self._authenticate(location)
        except BaseException:
            self._channel.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; watches end."""
        self._channel.close()

    def list(self) -> Listing:
        """Return all keys below the prefix, as they are at one moment."""
        items: list[KeyValue] = []
        start, end, revision = self._prefix, prefix_end(self._prefix), 0
        while True:
            request = etcdrpc.RangeRequest(key=start, range_end=end, limit=_PAGE, revision=revision)
            reply = self._call(self._kv.Range, request)
            revision = revision or reply.header.revision
            items.extend(KeyValue(kv.key.removeprefix(self._prefix), kv.value) for kv in reply.kvs)
            if not reply.more:
                return Listing(items, revision)
            start = reply.kvs[-1].key + b"\0"

    def watch(self, revision: int) -> "Watch":
        """Watch all keys below the prefix from `revision` on."""
        return Watch(self._channel, self._metadata, self._prefix, revision)

    def transact(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], lease: int = 0) -> int:
        """Set and delete keys below the prefix at once, and return the revision.

        With a lease, what is set hangs on it, and only what hangs on it is
        deleted. There may be OPERATIONS of both together.
        """
        operations = [
            etcdrpc.RequestOp(request_put=etcdrpc.PutRequest(key=self._prefix + path, value=value, lease=lease))
            for path, value in puts
        ] + [_deletion(self._prefix + path, lease) for path in deletes]
        return int(self._call(self._kv.Txn, etcdrpc.TxnRequest(success=operations)).header.revision)

    def claim(self, puts: Collection[tuple[bytes, bytes]], lease: int) -> set[bytes]:
        """Set keys below the prefix, each only where there is none yet, or where it hangs on the lease.

        They hang on the lease then. Returned are the paths of the others, which
        were left as they are. There may be OPERATIONS of them.
        """
        operations = [_claim(self._prefix + path, value, lease) for path, value in puts]
        responses = self._call(self._kv.Txn, etcdrpc.TxnRequest(success=operations)).responses
        return {path for (path, _), response in zip(puts, responses, strict=True) if not _claimed(response)}

    def present(self, paths: Collection[bytes]) -> set[bytes]:
        """Return those paths below the prefix that have a key."""
        found = self._read([self._prefix + path for path in paths], keys_only=True)
        return {kv.key.removeprefix(self._prefix) for kv in found}

    def grant(self, ttl: int) -> int:
        """Return a new lease, which lasts `ttl` seconds after it was granted or kept alive."""
        return int(self._call(self._lease.LeaseGrant, etcdrpc.LeaseGrantRequest(TTL=ttl)).ID)

    def keep_alive(self, lease: int) -> int:
        """Let the lease begin anew; return the seconds that it lasts, 0 if it is gone."""
        request = etcdrpc.LeaseKeepAliveRequest(ID=lease)
        return int(self._call(self._keep_alive, request).TTL)

    def revoke(self, lease: int) -> None:
        """End the lease, and with it its keys; it may be gone already."""
        try:
            self._call(self._lease.LeaseRevoke, etcdrpc.LeaseRevokeRequest(ID=lease))
        except EtcdError as error:
            if not error.lease_gone:
                raise

    def leased(self, lease: int) -> dict[bytes, bytes]:
        """Return the keys below the prefix that hang on the lease, and their values; none if it is gone."""
        request = etcdrpc.LeaseTimeToLiveRequest(ID=lease, keys=True)
        names = [
            name for name in self._call(self._lease.LeaseTimeToLive, request).keys if name.startswith(self._prefix)
        ]
        return {kv.key.removeprefix(self._prefix): kv.value for kv in self._read(names) if kv.lease == lease}

    def _read(self, names: Sequence[bytes], *, keys_only: bool = False) -> Iterator[Any]:
        for start in range(0, len(names), OPERATIONS):
            reads = [
                etcdrpc.RequestOp(request_range=etcdrpc.RangeRequest(key=name, keys_only=keys_only))
                for name in names[start : start + OPERATIONS]
            ]
            for response in self._call(self._kv.Txn, etcdrpc.TxnRequest(success=reads)).responses:
                yield from response.response_range.kvs

    def _keep_alive(self, request: Any, **options: Any) -> Any:
        """Make one call of what is a stream: whoever keeps a lease alive has a rhythm of his own."""
        stream = self._lease.LeaseKeepAlive(iter([request]), **options)
        for reply in stream:
            stream.cancel()
            return reply
        raise EtcdError(f"{self.endpoint}: no answer to a keep-alive")

    def _authenticate(self, location: Location) -> None:
        password = os.environ.get("CLUSTERF_ETCD_PASSWORD", "")
        if location.access.password_file is not None:
            try:
                password = Path(location.access.password_file).read_text().rstrip("\n")
            except (OSError, ValueError) as error:
                raise EtcdError(f"{location.access.password_file}: {error}") from None
        request = etcdrpc.AuthenticateRequest(name=location.access.user, password=password)
        try:
            reply = self._call(etcdrpc.AuthStub(self._channel).Authenticate, request)
        except EtcdError as error:
            if "authentication is not enabled" not in str(error):
                raise
            return  # not yet, or not any more: everybody may come in
        self._metadata = [("token", reply.token)]

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._deadline, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _described(self.endpoint, error) from None


class Watch:
    """The changes below a prefix, in order. Iterate in one thread; `cancel` and `ask_progress` from any."""

    def __init__(self, channel: Any, metadata: Sequence[tuple[str, str]], prefix: bytes, revision: int) -> None:
        self._prefix = prefix
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._requests.put(
            etcdrpc.WatchRequest(
                create_request=etcdrpc.WatchCreateRequest(
                    key=prefix, range_end=prefix_end(prefix), start_revision=revision, progress_notify=True
                )
            )
        )
        # a member that has lost its leader ends the stream rather than to fall silent
        self._stream = etcdrpc.WatchStub(channel).Watch(
            iter(self._requests.get, None), metadata=[*metadata, ("hasleader", "true")]
        )
        # however it ends: grpc has a thread that waits for requests
        self._stream.add_done_callback(lambda _: self._requests.put(None))

    def __iter__(self) -> Iterator[list[Event]]:
        """Yield the events of each message; an empty list is a sign of life. Raises EtcdError, in the end always."""
        try:
            for message in self._stream:
                if message.canceled:
                    compacted = message.compact_revision > 0
                    reason = "its revision was compacted" if compacted else message.cancel_reason or "cancelled by etcd"
                    raise EtcdError(f"watch: {reason}", compacted=compacted)
                yield [self._event(event) for event in message.events]
        except grpc.RpcError as error:
            raise _described("watch", error) from None
        raise EtcdError("watch: ended by etcd")

    def ask_progress(self) -> None:
        """Ask for a sign of life, which etcd gives from 3.4 on when it has told all it knows."""
        request = etcdrpc.WatchRequest()
        request.MergeFromString(_PROGRESS_REQUEST)
        self._requests.put(request)

    def cancel(self) -> None:
        """End the iteration."""
        self._requests.put(None)
        self._stream.cancel()

    def _event(self, event: Any) -> Event:
        deleted = event.type == event.DELETE
        path = event.kv.key.removeprefix(self._prefix)
        return Event(path, None if deleted else event.kv.value, event.kv.mod_revision)


def _channel(location: Location, endpoint: str) -> Any:
    if not location.tls:
        return grpc.insecure_channel(endpoint, options=_OPTIONS)
    return grpc.secure_channel(endpoint, _credentials(location), options=_OPTIONS)


def _credentials(location: Location) -> Any:
    """Return what the files hold, if it is any use: grpc ends the process over what is not."""
    if (location.access.cert is None) != (location.access.key is None):
        raise EtcdError("a client's certificate and its key go together, and there is only one of them")
    ca = location.access.ca or ssl.get_default_verify_paths().cafile
    try:
        parts = [Path(name).read_bytes() if name else None for name in (ca, location.access.key, location.access.cert)]
        context = ssl.create_default_context(cafile=ca)
        if location.access.cert is not None:
            context.load_cert_chain(location.access.cert, location.access.key, password="")  # else it would ask for one
    except ssl.SSLError as error:
        names = ", ".join(name for name in (ca, location.access.cert, location.access.key) if name)
        raise EtcdError(f"{names}: no use as certificates in PEM, and the key of one: {error}") from None
    except OSError as error:
        raise EtcdError(f"{error.filename}: {error.strerror}") from None
    return grpc.ssl_channel_credentials(*parts)


def _deletion(name: bytes, lease: int) -> Any:
    deletion = etcdrpc.RequestOp(request_delete_range=etcdrpc.DeleteRangeRequest(key=name))
    return _where(_hangs_on(name, lease), deletion) if lease else deletion


def _claim(name: bytes, value: bytes, lease: int) -> Any:
    put = etcdrpc.RequestOp(request_put=etcdrpc.PutRequest(key=name, value=value, lease=lease))
    absent = etcdrpc.Compare(key=name, target=etcdrpc.Compare.VERSION, result=etcdrpc.Compare.EQUAL, version=0)
    return _where(absent, put, _where(_hangs_on(name, lease), put))


def _claimed(response: Any) -> bool:
    """Tell from what etcd says of a `_claim` whether the key was set."""
    absent = response.response_txn
    return bool(absent.succeeded or absent.responses[0].response_txn.succeeded)


def _hangs_on(name: bytes, lease: int) -> Any:
    return etcdrpc.Compare(key=name, target=etcdrpc.Compare.LEASE, result=etcdrpc.Compare.EQUAL, lease=lease)


def _where(condition: Any, operation: Any, *otherwise: Any) -> Any:
    transaction = etcdrpc.TxnRequest(compare=[condition], success=[operation], failure=otherwise)
    return etcdrpc.RequestOp(request_txn=transaction)


def _described(where: str, error: Any) -> EtcdError:
    return EtcdError(
        f"{where}: {error.code().name.lower()}: {error.details()}",
        # a revision that is yet to come has the same code
        compacted=error.code() is grpc.StatusCode.OUT_OF_RANGE and "compacted" in error.details(),
        lease_gone=error.code() is grpc.StatusCode.NOT_FOUND,
    )
