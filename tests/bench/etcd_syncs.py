"""The first sync from etcd: a node with `--noop` and `--once` that has never run before."""

import time
from pathlib import Path

import msgspec

from tests.bench.etcd_source import Prefix
from tests.bench.starts import Start, once
from tests.bench.trees import Shape

__all__ = ["Sync", "measure"]


class Sync(msgspec.Struct, frozen=True):
    """What was measured. Times are in seconds."""

    shape: Shape
    listing: float  # listing the keys with our client, without a node
    start: Start

    @property
    def known(self) -> float:
        """From exec to the complete configuration: the first operation waits for that."""
        return self.start.last - self.start.apply


def measure(prefix: Prefix, shape: Shape, place: Path) -> Sync:
    """Measure once. The prefix must hold `shape`."""
    place.mkdir()
    with prefix.client() as client:
        began = time.perf_counter()
        items = client.list().items
        listing = time.perf_counter() - began
    assert len(items) == shape.operations
    return Sync(shape, listing, once(prefix.url, place, "--noop"))
