"""A client of a real etcd in tests, and a reader of its watches."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from queue import Queue
from typing import Any

import pytest

from clusterf.etcd import channel
from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.transactions import OPERATIONS
from clusterf.etcd.watch import Event, Watch
from tests.lab.etcd import EtcdCluster

__all__ = ["SOON", "Reader", "channel_options", "connect", "expire_a_lease", "fails_within", "put"]

SOON = 3.0  # seconds, the limit for what takes less than one


class Reader:
    """Reads a watch in a thread until it fails."""

    def __init__(self, watch: Watch) -> None:
        self._messages: Queue[list[Event] | EtcdError] = Queue()
        self._watch = watch
        threading.Thread(target=self._run, daemon=True).start()
        assert self.next() == []  # etcd confirms the watch

    def _run(self) -> None:
        try:
            for events in self._watch:
                self._messages.put(events)
        except EtcdError as error:
            self._messages.put(error)

    def next(self, timeout: float = SOON) -> list[Event]:
        """Return the events of the next message, or raise the error that ended the watch."""
        message = self._messages.get(timeout=timeout)
        if isinstance(message, EtcdError):
            raise message
        return message

    def events(self, number: int) -> list[Event]:
        """Return so many events."""
        events: list[Event] = []
        while len(events) < number:
            events += self.next()
        return events


def connect(cluster: EtcdCluster, prefix: str = "clusterf", deadline: float = 5.0, **changes: Any) -> Client:
    """Return a client of the first member."""
    return Client(cluster.location(prefix, **changes), cluster.endpoints[0], deadline)


def put(client: Client, values: dict[bytes, bytes]) -> int:
    """Set keys, in as few transactions as possible; return the last revision."""
    items, revision = iter(values.items()), 0
    while chunk := list(islice(items, OPERATIONS)):
        revision = client.transact(chunk, [])
    return revision


def expire_a_lease(client: Client, ttl: int) -> None:
    """Wait until a lease of `ttl` seconds, granted now, has expired."""
    lease = client.grant(ttl)
    revision = client.transact([(b"hourglass", b"")], [], lease)
    watch = client.watch(revision + 1)
    while not any(event.value is None for event in Reader(watch).next(ttl + SOON)):
        pass
    watch.cancel()


@contextmanager
def fails_within(seconds: float, text: str = ".") -> Iterator[None]:
    """Expect an EtcdError with this text, in time."""
    began = time.monotonic()
    with pytest.raises(EtcdError, match=text):
        yield
    assert time.monotonic() - began < seconds


@contextmanager
def channel_options(**options: int) -> Iterator[None]:
    """Have new channels use these gRPC options, named without `grpc.`, in place of ours."""
    changed = {f"grpc.{name}": value for name, value in options.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "_OPTIONS", list((dict(channel._OPTIONS) | changed).items()))
        yield
