"""A thin client of etcd v3, one endpoint at a time: list, watch, transactions and leases.

It has no retries and no state but a token: whoever uses it drops it on any
`EtcdError`, takes the next endpoint and begins anew. Every call has a deadline.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import grpc

from clusterf.etcd.channel import EtcdError, described, open_channel, prefix_end
from clusterf.etcd.location import EtcdLocation
from clusterf.etcd.stubs import etcdrpc
from clusterf.etcd.watch import Watch

__all__ = ["OPERATIONS", "Client", "KeyValue", "Listing"]

_PAGE = 1000  # keys of a list request
_DEADLINE = 5.0  # seconds of a call
OPERATIONS = 126  # that etcd takes in a transaction: of its 128 (--max-txn-ops), two are what a claim has inside


class KeyValue(NamedTuple):
    """A key below the prefix, without it, and its value."""

    path: bytes
    value: bytes


class Listing(NamedTuple):
    """All keys below the prefix at `revision`."""

    items: list[KeyValue]
    revision: int


class Client:
    """A connection to one endpoint. Use it as a context manager. Every method raises EtcdError."""

    def __init__(self, location: EtcdLocation, endpoint: str, deadline: float = _DEADLINE) -> None:
        """Begin to connect; with a user, authenticate. A call may take `deadline` seconds."""
        self._prefix = location.prefix
        self._deadline = deadline
        self.endpoint = endpoint
        self._metadata: list[tuple[str, str]] = []
        self._channel = open_channel(location, endpoint)
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

    def _authenticate(self, location: EtcdLocation) -> None:
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
            raise described(self.endpoint, error) from None


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
