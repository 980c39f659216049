"""A set of keys on one lease, kept equal to the wanted set: which writes are left to do.

This is bookkeeping without I/O. The wanted keys are a dictionary, of which the
newest state counts, so memory is bounded by its size. The keys written are
another. The differences are kept too, so that a change costs what it changes.

A wanted key is ours by its name: publishers use names that nobody else uses, such
as the id of a container or a network. It is written over any existing key, which
moves it to our lease; most likely that key is our own from an earlier run, on a
lease that is about to expire. If two nodes do publish one key, the last to read
its lease owns it, and when that node dies the other one writes it again. A key
that is no longer wanted is deleted only while it is attached to our lease. All
other keys belong to others: nodes that publish different keys of one service do
not affect each other.
"""

from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from clusterf.etcd.transactions import batches

__all__ = ["NOTHING", "LeasedKeys", "Transaction"]

NOTHING: Mapping[bytes, bytes] = MappingProxyType({})


class Transaction(NamedTuple):
    """Keys to set and keys to delete, in one step."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]


class LeasedKeys:
    """The keys wanted on the lease, and those written to it as far as is known."""

    def __init__(self) -> None:
        self.wanted: dict[bytes, bytes] = {}
        self._written: dict[bytes, bytes] = {}
        # paths to set and paths to delete, the oldest first
        self._missing: dict[bytes, None] = {}
        self._surplus: dict[bytes, None] = {}
        # whether `wanted` has ever been the whole set, so that other keys on the lease may be deleted
        self.complete = False

    def want(self, path: bytes, value: bytes | None) -> None:
        """Want `path` to have this value; None: to be absent."""
        if value is None:
            self.wanted.pop(path, None)
        else:
            self.wanted[path] = value
        self._compare(path)

    def want_only(self, wanted: Mapping[bytes, bytes]) -> None:
        """Want exactly these keys on the lease."""
        self.complete = True
        old, self.wanted = self.wanted, dict(wanted)
        for path in {**self.wanted, **old, **self._written}:
            self._compare(path)

    def reset_written(self, written: Mapping[bytes, bytes] = NOTHING) -> None:
        """Record which keys are on the lease; a new one has none."""
        self._written = dict(written)
        self._missing.clear()
        self._surplus.clear()
        for path in self.wanted:
            self._compare(path)
        if self.complete:
            for path in written:
                self._compare(path)

    def next(self) -> Transaction | None:
        """Return the next step; None if all keys are as wanted.

        All keys are set before the first is deleted, so that replacing one key by
        another leaves no gap.
        """
        step = Transaction([], [])
        differences = ((path, self.wanted.get(path)) for path in chain(self._missing, self._surplus))
        for path, value in next(batches(differences), ()):
            if value is None:
                step.deletes.append(path)
            else:
                step.puts.append((path, value))
        return step if any(step) else None

    def done(self, step: Transaction) -> None:
        """Record that etcd executed a step; `wanted` may have changed since."""
        self._written.update(step.puts)
        for path in step.deletes:
            self._written.pop(path, None)
        for path in chain((path for path, _ in step.puts), step.deletes):
            self._compare(path)

    def _compare(self, path: bytes) -> None:
        wanted, written = self.wanted.get(path), self._written.get(path)
        _mark(self._missing, path, wanted is not None and wanted != written)
        _mark(self._surplus, path, wanted is None and written is not None)


def _mark(paths: dict[bytes, None], path: bytes, marked: bool) -> None:
    if marked:
        paths[path] = None
    else:
        paths.pop(path, None)
