"""KeyPublisher with a real etcd: a publisher for the length of a test, and what etcd has meanwhile."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pykka

from actors.docker.key_publisher import KeyPublisher
from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from tests.lab.etcd import EtcdCluster
from tests.waiting import wait_until

__all__ = [
    "KEYS",
    "OTHERS",
    "TTL",
    "Witness",
    "expire_a_lease",
    "keys_in",
    "leases",
    "publisher",
    "put",
    "put_others",
    "revoke",
    "wait_for",
]

TTL = 2  # seconds
KEYS = {b"services/web/backends/%d" % number: b'{"weight": %d}' % number for number in range(3)}
OTHERS = {b"services/web/backends/other": b"{}", b"services/web/frontend": b'{"ipv4": "10.0.0.1", "tcp": 80}'}


@contextmanager
def publisher(cluster: EtcdCluster, lease_file: Path | None = None, ttl: int = TTL) -> Iterator[pykka.ActorRef[Any]]:
    """Run a publisher until the `with` ends; it leaves its keys to expire."""
    ref = KeyPublisher.start(cluster.location(), ttl, lease_file, leave_nothing=True)
    try:
        yield ref
    finally:
        with suppress(pykka.ActorDeadError):
            ref.stop(timeout=20)


def keys_in(cluster: EtcdCluster) -> dict[bytes, bytes]:
    """Return all keys below the prefix, or the error as one while etcd is unreachable."""
    try:
        with Client(cluster.location(), cluster.endpoints[0], 1) as client:
            return dict(client.list().items)
    except EtcdError as error:
        return {b"error": str(error).encode()}


def wait_for(cluster: EtcdCluster, keys: Mapping[bytes, bytes], timeout: float = 20) -> None:
    """Wait until etcd has exactly these keys."""
    with suppress(AssertionError):
        wait_until(lambda: keys_in(cluster) == keys, timeout)
        return
    assert keys_in(cluster) == keys


def leases(cluster: EtcdCluster) -> list[int]:
    return [int(lease, 16) for lease in cluster.ctl("lease", "list").split()[3:]]


def expire_a_lease(cluster: EtcdCluster, ttl: int) -> None:
    """Wait until a lease of `ttl` seconds, granted now, has expired."""
    with Client(cluster.location(), cluster.endpoints[0]) as client:
        lease = client.grant(ttl)
    wait_until(lambda: lease not in leases(cluster), 2 * ttl + 5)


def put_others(cluster: EtcdCluster) -> None:
    """Set the keys OTHERS, one of them on a lease."""
    with Client(cluster.location(), cluster.endpoints[0]) as client:
        client.transact(list(OTHERS.items())[:1], [], client.grant(600))
        client.transact(list(OTHERS.items())[1:], [])


class Witness:
    """Records each change below the prefix while the `with` lasts."""

    def __init__(self, cluster: EtcdCluster, prefix: str = "clusterf") -> None:
        self._client = Client(cluster.location(prefix), cluster.endpoints[0])
        self.puts: list[bytes] = []
        self.deletes: list[bytes] = []

    def __enter__(self) -> Self:
        self._watch = self._client.watch(self._client.list().revision + 1)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        last = b"the last change recorded"
        self._client.transact([(last, b"")], [])
        wait_until(lambda: last in self.puts)
        self._watch.cancel()
        self._thread.join()
        self._client.transact([], [last])
        self._client.close()
        self.puts.remove(last)

    def _run(self) -> None:
        with suppress(EtcdError):
            for events in self._watch:
                for path, value, _, _ in events:
                    (self.deletes if value is None else self.puts).append(path)


def revoke(cluster: EtcdCluster, keys: Mapping[bytes, bytes]) -> None:
    """Revoke the lease that has these keys."""
    with Client(cluster.location(), cluster.endpoints[0]) as client:
        client.revoke(next(lease for lease in leases(cluster) if client.leased(lease) == keys))


def put(cluster: EtcdCluster, path: bytes, value: bytes | None) -> None:
    """Set or delete a key as an operator would."""
    with Client(cluster.location(), cluster.endpoints[0]) as client:
        client.transact([(path, value)] if value is not None else [], [] if value is not None else [path])
