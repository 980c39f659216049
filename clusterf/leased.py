"""A set of keys that is kept equal to a wanted one, all of it on one lease: what is left to do.

Only bookkeeping: nothing here talks to etcd. What is wanted is a dictionary,
of which the newest counts, so that memory is bounded by its size; what is
known to be written is another; what differs is remembered, so that a change
costs what changes.

A key that is wanted is ours by its name: whoever publishes takes names that
nobody else does, as the id of a container or of a network is. So it is written
over whatever is there, which then hangs on our lease: most likely it is from
an earlier life of ours, whose lease is about to end. Where two nodes do
publish one key, the last to look has it, and when its node dies the other one
writes it again. A key that is not wanted is deleted only while it hangs on our
lease. All others belong to others, and nodes that publish different keys of
one service do not notice each other.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from clusterf.etcd import OPERATIONS

__all__ = ["LeasedSet", "Transaction"]

BYTES = 1 << 20  # of a transaction, about; etcd takes 1.5 MiB (--max-request-bytes)
OVERHEAD = 300  # bytes of an operation beside path and value, with a prefix that is not extravagant


class Transaction(NamedTuple):
    """Keys to set, and keys to delete, as one step."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]


class LeasedSet:
    """What is wanted on the lease, and what is known to be there."""

    def __init__(self) -> None:
        self.wanted: dict[bytes, bytes] = {}
        self._written: dict[bytes, bytes] = {}
        # paths that have to be set, and paths that have to go; the oldest first
        self._missing: dict[bytes, None] = {}
        self._surplus: dict[bytes, None] = {}
        # whether `wanted` has been all there is at some time, so that what else is on the lease may go
        self.whole = False

    def want(self, path: bytes, value: bytes | None) -> None:
        """From now on `path` shall have this value, or with None not be there."""
        if value is None:
            self.wanted.pop(path, None)
        else:
            self.wanted[path] = value
        self._compare(path)

    def want_only(self, wanted: Mapping[bytes, bytes]) -> None:
        """From now on exactly these keys shall be on the lease."""
        self.whole = True
        old, self.wanted = self.wanted, dict(wanted)
        for path in old.keys() | self._written.keys() | wanted.keys():
            self._compare(path)

    def found(self, written: Mapping[bytes, bytes]) -> None:
        """Take note of what is on the lease; on a new one, or none, it is nothing."""
        self._written = dict(written)
        self._missing.clear()
        self._surplus.clear()
        for path in self.wanted:
            self._compare(path)
        if self.whole:
            for path in written:
                self._compare(path)

    def next(self) -> Transaction | None:
        """Return the next step to take; None when all is as wanted.

        All keys are set before the first is deleted, so that who exchanges one
        for another is never without.
        """
        step, size = Transaction([], []), 0
        for path in chain(self._missing, self._surplus):
            value = self.wanted.get(path)
            size += len(path) + len(value or b"") + OVERHEAD
            if size > BYTES and (step.puts or step.deletes):
                break
            if value is None:
                step.deletes.append(path)
            else:
                step.puts.append((path, value))
            if len(step.puts) + len(step.deletes) == OPERATIONS:
                break
        return step if step.puts or step.deletes else None

    def done(self, step: Transaction) -> None:
        """Take note that etcd has done a step; what is wanted may have changed since it was returned."""
        self._written.update(step.puts)
        for path in step.deletes:
            self._written.pop(path, None)
        for path in self._paths(step):
            self._compare(path)

    def _paths(self, step: Transaction) -> Iterator[bytes]:
        return chain((path for path, _ in step.puts), step.deletes)

    def _compare(self, path: bytes) -> None:
        wanted, written = self.wanted.get(path), self._written.get(path)
        _mark(self._missing, path, wanted is not None and wanted != written)
        _mark(self._surplus, path, wanted is None and written is not None)


def _mark(paths: dict[bytes, None], path: bytes, marked: bool) -> None:
    if marked:
        paths[path] = None
    else:
        paths.pop(path, None)
