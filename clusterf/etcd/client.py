"""A thin client of etcd v3, one endpoint at a time: list, watch, transactions and leases.

It has no retries and no state but an authentication token: on an `EtcdError` the
caller drops the client and connects to the next endpoint. Every call has a deadline,
and every reply is checked (`clusterf.etcd.replies`, `clusterf.etcd.pages`).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import grpc

from clusterf.etcd import transactions
from clusterf.etcd.channel import open_channel
from clusterf.etcd.errors import EtcdError, rpc_error
from clusterf.etcd.location import EtcdCredentials, EtcdLocation
from clusterf.etcd.pages import pages, read_keys
from clusterf.etcd.replies import check_token, granted, header_of, refusal_of, remaining, renewed, responses_of
from clusterf.etcd.stubs import etcdrpc
from clusterf.etcd.values import Oversized
from clusterf.etcd.watch import Watch

__all__ = ["DEADLINE", "NO_LEASES", "Claimed", "Client", "KeyListing", "KeyValue", "LeaseTime", "Put"]

DEADLINE = 5.0  # seconds a call may take
NO_LEASES: Mapping[bytes, int] = MappingProxyType({})


class KeyValue(NamedTuple):
    """A key below the prefix, without the prefix, and its value, or what stands for one that is too large."""

    path: bytes
    value: bytes | Oversized


class KeyListing(NamedTuple):
    """All keys below the prefix at `revision` of the cluster with the id `cluster`.

    `leases`: of each path that is attached to a lease, which.
    """

    items: list[KeyValue]
    revision: int
    cluster: int
    leases: Mapping[bytes, int] = NO_LEASES


class Put(NamedTuple):
    """A key to be set if it is attached to the lease `on` now, 0: to none, or absent.

    With a revision it is set if that is its last one.
    """

    path: bytes
    value: bytes
    on: int
    revision: int = 0


class Claimed(NamedTuple):
    """The revision of a transaction, and of each key that was not set the lease and the last revision; 0, 0: absent."""

    revision: int
    refused: Mapping[bytes, tuple[int, int]]


class LeaseTime(NamedTuple):
    """For how many seconds a lease lives on, unless it is kept alive, and for how many then; both 0: it is gone."""

    left: int
    granted: int


class Client:
    """A connection to one endpoint, as a context manager. Paths are below the prefix. All methods raise EtcdError."""

    def __init__(self, location: EtcdLocation, endpoint: str, deadline: float = DEADLINE) -> None:
        """Connect in the background; authenticate if there is a user. A call may take `deadline` seconds."""
        self._prefix = location.prefix
        self._max_value = location.credentials.max_value
        self._deadline = deadline
        self.endpoint = endpoint
        self._metadata: list[tuple[str, str]] = []
        self._channel = open_channel(location, endpoint)
        self._kv = etcdrpc.KVStub(self._channel)
        self._lease = etcdrpc.LeaseStub(self._channel)
        try:
            if location.credentials.user is not None:
                self._authenticate(location.credentials)
        except BaseException:
            self._channel.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, which ends its watches."""
        self._channel.close()

    def list(self) -> KeyListing:
        """Return all keys below the prefix at one revision, read page by page.

        Reads are linearizable: no revision is older than one that any client has seen before.
        """
        items: list[KeyValue] = []
        leases: dict[bytes, int] = {}
        revision = cluster = 0
        for page in pages(self._range, self._prefix, 0, self._max_value):
            revision, cluster = revision or page.revision, page.cluster
            items.extend(KeyValue(key.name.removeprefix(self._prefix), key.value) for key in page.keys)
            leases.update((key.name.removeprefix(self._prefix), key.lease) for key in page.keys if key.lease)
        return KeyListing(items, revision, cluster, leases)

    def paths(self, revision: int) -> set[bytes]:
        """Return the paths of all keys that were below the prefix at `revision`, which may be compacted."""
        listed = pages(self._range, self._prefix, revision, self._max_value, keys_only=True)
        return {key.name.removeprefix(self._prefix) for page in listed for key in page.keys}

    def watch(self, revision: int) -> Watch:
        """Watch all keys below the prefix, from `revision` on."""
        return Watch(self._channel, self._metadata, self._prefix, revision, self._max_value)

    def transact(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], lease: int = 0) -> int:
        """Set and delete keys in one transaction of at most OPERATIONS; return its revision.

        With a lease, keys are set on that lease, and deleted only if attached to it.
        """
        operations = [transactions.put_operation(self._prefix + path, value, lease) for path, value in puts]
        operations += [transactions.delete_operation(self._prefix + path, lease) for path in deletes]
        reply = self._transaction(etcdrpc.TxnRequest(success=operations))
        responses_of(reply, operations)
        return int(header_of(reply).revision)

    def claim(self, puts: Sequence[Put], deletes: Sequence[bytes], lease: int) -> Claimed:
        """Set keys on the lease, each on its condition, and delete those attached to it, in one transaction."""
        operations = [
            transactions.put_if(self._prefix + one.path, one.value, lease, on=one.on, revision=one.revision)
            for one in puts
        ]
        operations += [transactions.delete_operation(self._prefix + path, lease) for path in deletes]
        reply = self._transaction(etcdrpc.TxnRequest(success=operations))
        answers = {
            one.path: refusal_of(r, self._prefix + one.path)
            for one, r in zip(puts, responses_of(reply, operations)[: len(puts)], strict=True)
        }
        return Claimed(int(header_of(reply).revision), {path: why for path, why in answers.items() if why is not None})

    def read(self, paths: Iterable[bytes]) -> Mapping[bytes, bytes]:
        """Return those of the keys that exist; one that is too large as an empty one."""
        found = read_keys(self._transaction, sorted(self._prefix + path for path in set(paths)), self._max_value)
        return {
            key.name.removeprefix(self._prefix): b"" if isinstance(key.value, Oversized) else key.value for key in found
        }

    def write_unleased(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes]) -> Sequence[bytes]:
        """Set and delete keys in one transaction of at most OPERATIONS, but none that is attached to a lease.

        Return the paths of those that are.
        """
        operations = [transactions.put_operation(self._prefix + path, value) for path, value in puts]
        operations += [transactions.delete_operation(self._prefix + path) for path in deletes]
        guarded = [transactions.unleased(operation) for operation in operations]
        responses = responses_of(self._transaction(etcdrpc.TxnRequest(success=guarded)), guarded)
        paths = [path for path, _ in puts] + list(deletes)
        return [path for path, done in zip(paths, responses, strict=True) if not done.response_txn.succeeded]

    def touch(self, path: bytes, value: bytes, lease: int) -> int:
        """Set a key if it is attached to the lease; return the revision, 0: it is not."""
        name = self._prefix + path
        reply = self._transaction(transactions.put_if_owned(name, value, lease))
        return int(header_of(reply).revision) if reply.succeeded else 0

    def revision(self) -> int:
        """Return the present revision."""
        return self.transact([], [])

    def grant(self, ttl: int) -> int:
        """Return the id of a new lease, which expires `ttl` seconds after it was granted or kept alive."""
        return granted(self._call(self._lease.LeaseGrant, etcdrpc.LeaseGrantRequest(TTL=ttl)), ttl)

    def keep_alive(self, lease: int) -> int:
        """Renew the lease; return its TTL in seconds, 0 if it is gone."""
        request = etcdrpc.LeaseKeepAliveRequest(ID=lease)
        return renewed(self._call(self._keep_alive, request), lease)

    def revoke(self, lease: int) -> None:
        """Revoke the lease, which deletes its keys; a lease that is gone is no error."""
        try:
            self._call(self._lease.LeaseRevoke, etcdrpc.LeaseRevokeRequest(ID=lease))
        except EtcdError as error:
            if not error.lease_gone:
                raise

    def time_to_live(self, lease: int) -> LeaseTime:
        """Return for how long a lease lives on."""
        return LeaseTime(
            *remaining(self._call(self._lease.LeaseTimeToLive, etcdrpc.LeaseTimeToLiveRequest(ID=lease)), lease)
        )

    def leased(self, lease: int) -> dict[bytes, bytes]:
        """Return the paths and values of the keys attached to the lease; none if it is gone.

        A value that is too large is not ours, and returned as an empty one.
        """
        request = etcdrpc.LeaseTimeToLiveRequest(ID=lease, keys=True)
        names = [
            name for name in self._call(self._lease.LeaseTimeToLive, request).keys if name.startswith(self._prefix)
        ]
        found = read_keys(self._transaction, sorted(set(names)), self._max_value)
        return {
            key.name.removeprefix(self._prefix): b"" if isinstance(key.value, Oversized) else key.value
            for key in found
            if key.lease == lease or isinstance(key.value, Oversized)
        }

    def _range(self, request: Any) -> Any:
        return self._call(self._kv.Range, request)

    def _transaction(self, request: Any) -> Any:
        return self._call(self._kv.Txn, request)

    def _keep_alive(self, request: Any, **options: Any) -> Any:
        """Use etcd's stream as a single call: when to renew is the caller's decision."""
        stream = self._lease.LeaseKeepAlive(iter([request]), **options)
        for reply in stream:
            stream.cancel()
            return reply
        raise EtcdError(f"{self.endpoint}: no reply to a lease keep-alive")

    def _authenticate(self, credentials: EtcdCredentials) -> None:
        password = os.environ.get("CLUSTERF_ETCD_PASSWORD", "")
        if credentials.password_file is not None:
            try:
                password = Path(credentials.password_file).read_text().rstrip("\n")
            except (OSError, ValueError) as error:
                raise EtcdError(f"{credentials.password_file}: {error}") from None
        request = etcdrpc.AuthenticateRequest(name=credentials.user, password=password)
        try:
            reply = self._call(etcdrpc.AuthStub(self._channel).Authenticate, request)
        except EtcdError as error:
            if "authentication is not enabled" not in str(error):
                raise
            return  # a cluster without authentication admits everybody
        self._metadata = [("token", check_token(reply.token))]

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._deadline, metadata=self._metadata)
        except grpc.RpcError as error:
            raise rpc_error(self.endpoint, error) from None
