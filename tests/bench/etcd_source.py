"""An etcd of one member, with data on a disk, whose prefixes hold configurations."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from clusterf.etcd.client import Client
from clusterf.etcd.transactions import OPERATIONS
from tests.bench.nodes import Lines
from tests.bench.trees import Shape
from tests.lab.etcd import EtcdCluster

__all__ = ["Prefix", "bare_watch", "etcd"]

DISK = "/var/tmp"  # /tmp is often a tmpfs, and etcd syncs its writes to disk
# less frequent garbage collection: each takes all cores, those of the nodes too, for 10-20 ms
RARELY = {"GOGC": "800"}


class Prefix(NamedTuple):
    """A prefix of an etcd."""

    cluster: EtcdCluster
    name: str

    @property
    def url(self) -> str:
        """The URL for a node."""
        return self.cluster.url(self.name)

    def client(self) -> Client:
        """Return a new client."""
        return Client(self.cluster.location(self.name), self.cluster.endpoints[0])

    def fill(self, shape: Shape) -> int:
        """Put all objects of `shape`, and return the last revision."""
        objects = ((path.encode(), value.encode()) for path, value in shape.objects())
        revision = 0
        with self.client() as client:
            while part := list(islice(objects, OPERATIONS)):
                revision = client.transact(part, [])
        return revision


@contextmanager
def etcd() -> Iterator[tuple[EtcdCluster, Path]]:
    """Run an etcd, and yield it with a directory next to its own."""
    with tempfile.TemporaryDirectory(dir=DISK) as name, ExitStack() as stack:
        (beside := Path(name) / "nodes").mkdir()
        with patch.dict(os.environ, RARELY):
            cluster = stack.enter_context(EtcdCluster(Path(name)))
        yield cluster, beside


@contextmanager
def bare_watch(prefix: Prefix, revision: int) -> Iterator[Lines]:
    """Run `etcdctl watch` from a revision on, and yield its output: three lines per event, the last is the value."""
    command = ["etcdctl", "--endpoints", prefix.cluster.endpoints[0]]
    command += ["watch", "--prefix", f"/{prefix.name}/", "--rev", str(revision)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"ETCDCTL_API": "3"})
    try:
        assert process.stdout is not None
        yield Lines(process.stdout)
    finally:
        process.terminate()
        process.wait()
