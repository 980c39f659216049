"""Samples what etcd has: which backends, with what weights, and when a key was last written."""

import json
import threading
import time
from base64 import b64decode
from collections.abc import Mapping

import msgspec

from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from tests.lab.etcd import EtcdCluster

__all__ = ["PREFIX", "KeySampler", "Keys", "Seen", "backends", "revisions"]

PREFIX = "clusterf"
PERIOD = 0.05  # seconds between samples
DEADLINE = 1.0  # seconds for etcd to answer

Keys = Mapping[str, int]
"""The weights of backends, by key."""


class Seen(msgspec.Struct, frozen=True):
    """What etcd has from some time between two samples on."""

    begin: float
    end: float
    keys: dict[str, int]


class KeySampler:
    """Samples in a thread, in the network namespace of the one that makes it, until it is closed."""

    def __init__(self, etcd: EtcdCluster) -> None:
        self._etcd = etcd
        self.seen: list[Seen] = []
        self.samples = 0
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys")
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        before = time.monotonic()
        while not self._enough.is_set():
            try:
                with Client(self._etcd.location(PREFIX), self._etcd.endpoints[0], DEADLINE) as client:
                    while not self._enough.wait(PERIOD):
                        begin = time.monotonic()
                        self._sample(before, backends(client))
                        before = begin
            except EtcdError:
                self._enough.wait(PERIOD)

    def _sample(self, before: float, keys: dict[str, int]) -> None:
        self.samples += 1
        if not self.seen or self.seen[-1].keys != keys:
            self.seen.append(Seen(before, time.monotonic(), keys))


def backends(client: Client) -> dict[str, int]:
    """Return the weights of all backends. Raises EtcdError."""
    listed = {item.path.decode(): item.value for item in client.list().items}
    return {
        path: int(json.loads(value).get("weight", 10))
        for path, value in listed.items()
        if "/backends/" in path and isinstance(value, bytes)
    }


def revisions(etcd: EtcdCluster) -> dict[str, int]:
    """Return when each key was last written, as a revision."""
    reply = json.loads(etcd.ctl("get", "--prefix", f"/{PREFIX}/", "--keys-only", "-w", "json"))
    return {b64decode(key["key"]).decode(): int(key["mod_revision"]) for key in reply.get("kvs", ())}
