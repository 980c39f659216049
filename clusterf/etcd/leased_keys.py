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

A key may also be claimed: wanted only if it is absent, as the health check of a
service that has none. It is ours while it is attached to our lease. Otherwise it
is somebody else's, and neither written nor deleted until it is gone: its owner
withdrew it or died, or an operator deleted it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from clusterf.etcd.transactions import batches

__all__ = ["NOTHING", "LeasedKeys", "Transaction"]

NOTHING: Mapping[bytes, bytes] = MappingProxyType({})


class Transaction(NamedTuple):
    """Keys to set, keys to delete, and keys to set if nobody else has them, in one step."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]
    claims: list[tuple[bytes, bytes]]


class LeasedKeys:
    """The keys wanted on the lease, and those written to it as far as is known."""

    def __init__(self) -> None:
        self.wanted: dict[bytes, bytes] = {}
        # those of `wanted` that are claims, and those of the claims that somebody else owns
        self._claims: set[bytes] = set()
        self._refused: set[bytes] = set()
        self._written: dict[bytes, bytes] = {}
        # paths to set and paths to delete, the oldest first
        self._missing: dict[bytes, None] = {}
        self._surplus: dict[bytes, None] = {}
        # whether `wanted` has ever been the whole set, so that other keys on the lease may be deleted
        self.complete = False

    @property
    def refused(self) -> frozenset[bytes]:
        """The claims that somebody else owns, as far as is known."""
        return frozenset(self._refused)

    def want(self, path: bytes, value: bytes | None, *, if_absent: bool = False) -> None:
        """Want `path` to have this value; None: to be absent. `if_absent`: claim it."""
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
        """Want exactly these keys on the lease, and claim those of `if_absent`."""
        self.complete = True
        old, self.wanted = self.wanted, {**if_absent, **wanted}
        self._claims = if_absent.keys() - wanted.keys()
        for path in {**self.wanted, **old, **self._written}:  # claims first: a check precedes its backends
            self._compare(path)

    def reset_written(self, written: Mapping[bytes, bytes] = NOTHING) -> None:
        """Record which keys are on the lease; a new one has none. All claims are tried again."""
        self._written = dict(written)
        self._refused.clear()
        self._missing.clear()
        self._surplus.clear()
        for path in self.wanted:
            self._compare(path)
        if self.complete:
            for path in written:
                self._compare(path)

    def retry_claims(self, paths: Iterable[bytes]) -> None:
        """Try these claims again: their keys are gone."""
        for path in paths:
            self._refused.discard(path)
            self._compare(path)

    def next(self) -> Transaction | None:
        """Return the next step; None if all keys are as wanted.

        All keys are set before the first is deleted, so that replacing one key by
        another leaves no gap.
        """
        step = Transaction([], [], [])
        differences = ((path, self.wanted.get(path)) for path in chain(self._missing, self._surplus))
        for path, value in next(batches(differences), ()):
            if value is None:
                step.deletes.append(path)
            elif path in self._claims:
                step.claims.append((path, value))
            else:
                step.puts.append((path, value))
        return step if any(step) else None

    def done(self, step: Transaction, refused: Collection[bytes] = ()) -> None:
        """Record that etcd executed a step, except for the `refused` claims; `wanted` may have changed since."""
        self._written.update(step.puts)
        self._written.update(step.claims)
        self._refused.update(refused)
        for path in chain(step.deletes, refused):
            self._written.pop(path, None)
        for path in self._paths(step):
            self._compare(path)

    def _paths(self, step: Transaction) -> Iterator[bytes]:
        return chain((path for path, _ in chain(step.puts, step.claims)), step.deletes)

    def _compare(self, path: bytes) -> None:
        wanted, written = self.wanted.get(path), self._written.get(path)
        if path not in self._claims:
            self._refused.discard(path)
        _mark(self._missing, path, wanted is not None and wanted != written and path not in self._refused)
        _mark(self._surplus, path, wanted is None and written is not None)


def _mark(paths: dict[bytes, None], path: bytes, marked: bool) -> None:
    if marked:
        paths[path] = None
    else:
        paths.pop(path, None)
