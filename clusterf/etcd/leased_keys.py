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

A key may also be claimed: wanted only if there is none, as the health check of
a service that has no other. It is ours for as long as it hangs on our lease. One
that does not is somebody else's, and is neither written nor deleted until it is
gone: who had it took it back, died, or lost it to an operator who deleted it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from clusterf.etcd.client import OPERATIONS

__all__ = ["NOTHING", "LeasedKeys", "Transaction"]

NOTHING: Mapping[bytes, bytes] = MappingProxyType({})

BYTES = 1 << 20  # of a transaction, about; etcd takes 1.5 MiB (--max-request-bytes)
OVERHEAD = 300  # bytes of an operation beside path and value, with a prefix that is not extravagant


class Transaction(NamedTuple):
    """Keys to set, keys to delete, and keys to set if nobody else has them: as one step."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]
    claims: list[tuple[bytes, bytes]]


class LeasedKeys:
    """What is wanted on the lease, and what is known to be there."""

    def __init__(self) -> None:
        self.wanted: dict[bytes, bytes] = {}
        # those of them that are wanted only if nobody else has them, and those of these that somebody has
        self._claims: set[bytes] = set()
        self._taken: set[bytes] = set()
        self._written: dict[bytes, bytes] = {}
        # paths that have to be set, and paths that have to go; the oldest first
        self._missing: dict[bytes, None] = {}
        self._surplus: dict[bytes, None] = {}
        # whether `wanted` has been all there is at some time, so that what else is on the lease may go
        self.whole = False

    @property
    def taken(self) -> frozenset[bytes]:
        """The paths of claims that somebody else has, as far as is known."""
        return frozenset(self._taken)

    def want(self, path: bytes, value: bytes | None, *, if_absent: bool = False) -> None:
        """From now on `path` shall have this value, or with None not be there.

        With `if_absent` it shall have it only where nobody else gives it one.
        """
        if value is None:
            self.wanted.pop(path, None)
        else:
            self.wanted[path] = value
        if value is not None and if_absent:
            self._claims.add(path)
        else:
            self._claims.discard(path)
        self._compare(path)

    def want_only(self, wanted: Mapping[bytes, bytes], if_absent: Mapping[bytes, bytes] = NOTHING) -> None:
        """From now on exactly these keys shall be on the lease, and those of `if_absent` that nobody else has."""
        self.whole = True
        old, self.wanted = self.wanted, {**if_absent, **wanted}
        self._claims = if_absent.keys() - wanted.keys()
        for path in {**self.wanted, **old, **self._written}:  # claims first: a check comes before its backends
            self._compare(path)

    def found(self, written: Mapping[bytes, bytes]) -> None:
        """Take note of what is on the lease; on a new one, or none, it is nothing. Claims are tried anew."""
        self._written = dict(written)
        self._taken.clear()
        self._missing.clear()
        self._surplus.clear()
        for path in self.wanted:
            self._compare(path)
        if self.whole:
            for path in written:
                self._compare(path)

    def given_up(self, paths: Iterable[bytes]) -> None:
        """Take note that nobody has these paths any more."""
        for path in paths:
            self._taken.discard(path)
            self._compare(path)

    def next(self) -> Transaction | None:
        """Return the next step to take; None when all is as wanted.

        All keys are set before the first is deleted, so that who exchanges one
        for another is never without.
        """
        step, size = Transaction([], [], []), 0
        for number, path in enumerate(chain(self._missing, self._surplus)):
            value = self.wanted.get(path)
            size += len(path) + len(value or b"") + OVERHEAD
            if number and (number == OPERATIONS or size > BYTES):
                break
            if value is None:
                step.deletes.append(path)
            elif path in self._claims:
                step.claims.append((path, value))
            else:
                step.puts.append((path, value))
        return step if any(step) else None

    def done(self, step: Transaction, refused: Collection[bytes] = ()) -> None:
        """Take note that etcd has done a step; what is wanted may have changed since it was returned.

        `refused`: the claims that somebody else has.
        """
        self._written.update(step.puts)
        self._written.update(step.claims)
        self._taken.update(refused)
        for path in chain(step.deletes, refused):
            self._written.pop(path, None)
        for path in self._paths(step):
            self._compare(path)

    def _paths(self, step: Transaction) -> Iterator[bytes]:
        return chain((path for path, _ in chain(step.puts, step.claims)), step.deletes)

    def _compare(self, path: bytes) -> None:
        wanted, written = self.wanted.get(path), self._written.get(path)
        if path not in self._claims:
            self._taken.discard(path)
        _mark(self._missing, path, wanted is not None and wanted != written and path not in self._taken)
        _mark(self._surplus, path, wanted is None and written is not None)


def _mark(paths: dict[bytes, None], path: bytes, marked: bool) -> None:
    if marked:
        paths[path] = None
    else:
        paths.pop(path, None)
