"""A set of keys on one lease, kept equal to the wanted set: which writes are left to do.

This is bookkeeping without I/O. The wanted keys are a dictionary, of which the
newest state counts, so memory is bounded by its size. The keys written are
another. The differences are kept too, so that a change costs what it changes.

A wanted key is ours by its name: publishers use names that nobody else uses, such
as the id of a container or a network. What others write there, or delete, is put back. Where other
nodes do use one of these names, `clusterf.leases.claims` tells what is left to them. A key
that is no longer wanted is deleted only while it is attached to our lease. All
other keys belong to others: nodes that publish different keys of one service do
not affect each other.

What is found on a lease that was taken over, and not wanted, is doubtful: most likely it
is our own from an earlier run, but a copy of this node's state may have
brought us the lease of one that lives. It is not deleted until `believe`.
"""

from collections.abc import Mapping
from enum import Enum, auto
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from clusterf.etcd.transactions import batches
from clusterf.etcd.values import Oversized

__all__ = ["NOTHING", "LeasedKeys", "Owner", "Transaction", "Turn"]

NOTHING: Mapping[bytes, bytes] = MappingProxyType({})
REMEMBERED = 10_000  # paths that were published once, beside the present ones


class Transaction(NamedTuple):
    """Keys to set and keys to delete, in one step."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]


class Owner(Enum):
    """What a key is attached to that someone else wrote: our lease, another one, or none."""

    OURS = auto()
    ANOTHER = auto()
    NOBODY = auto()


class Turn(Enum):
    """What it means that someone else wrote or deleted a key.

    It is one of ours, to be put back, or one that another node has, too; it was a doubtful one, of someone
    who lives; or our lease is used by others.
    """

    LOST = auto()
    TAKEN = auto()
    MOVED = auto()
    SHARED = auto()


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
        # what is on the lease, but was not set by this process, nor wanted
        self.doubtful: dict[bytes, bytes] = {}
        # the paths that this process has set
        self._own: dict[bytes, None] = {}

    def want(self, path: bytes, value: bytes | None) -> None:
        """Want `path` to have this value; None: to be absent."""
        if value is None:
            self.wanted.pop(path, None)
            self.doubtful.pop(path, None)  # who says so knows it
        else:
            self.wanted[path] = value
        self._compare(path)

    def want_only(self, wanted: Mapping[bytes, bytes]) -> None:
        """Want exactly these keys on the lease."""
        self.complete = True
        old, self.wanted = self.wanted, dict(wanted)
        for path in {**self.wanted, **old, **self._written}:
            self._compare(path)

    def want_found(self) -> None:
        """Want what was found on the lease, until the whole set is known."""
        if not self.complete:
            for path, value in list(self.doubtful.items()):
                if value:
                    self.want(path, value)

    def reset_written(self, written: Mapping[bytes, bytes] = NOTHING) -> list[bytes]:
        """Record which keys are on the lease, a new one has none; return those that are doubtful as of now."""
        self._written = dict(written)
        self._missing.clear()
        self._surplus.clear()
        before, self.doubtful = self.doubtful, {p: v for p, v in written.items() if p not in self._own}
        for path in self.wanted:
            self._compare(path)
        if self.complete:
            for path in written:
                self._compare(path)
        return [path for path in self.doubtful if path not in before]

    def next(self) -> Transaction | None:
        """Return the next step; None if all keys are as wanted, but for doubtful ones.

        All keys are set before the first is deleted, so that replacing one key by
        another leaves no gap.
        """
        step = Transaction([], [])
        surplus = (path for path in self._surplus if path not in self.doubtful)
        differences = ((path, self.wanted.get(path)) for path in chain(self._missing, surplus))
        for path, value in next(batches(differences), ()):
            if value is None:
                step.deletes.append(path)
            else:
                step.puts.append((path, value))
        return step if any(step) else None

    def done(self, step: Transaction) -> None:
        """Record that etcd executed a step; `wanted` may have changed since."""
        self._written.update(step.puts)
        self._own.update(dict.fromkeys(path for path, _ in step.puts))
        for path in step.deletes:
            self._written.pop(path, None)
        for path in chain((path for path, _ in step.puts), step.deletes):
            self._compare(path)
        if len(self._own) > 2 * len(self.wanted) + REMEMBERED:
            self._own = dict.fromkeys(path for path in self._own if path in self._written)

    def to_doubt(self) -> tuple[bytes, bytes] | None:
        """Return one of the keys that are to be deleted but doubtful, with its value; None: there is none."""
        return next(((path, self.doubtful[path]) for path in self._surplus if path in self.doubtful), None)

    def believe(self) -> dict[bytes, bytes]:
        """Have what is to be deleted, but doubtful, deleted all the same; return it."""
        return {path: self.doubtful.pop(path) for path in self._surplus if path in self.doubtful}

    def changed(self, path: bytes, value: bytes | Oversized | None, owner: Owner) -> Turn | None:
        """Take in that someone else has set a key, or with None deleted it; return what that means for us, if anything.

        What is lost is not put back before `lost`; what is taken is to be claimed again.
        """
        if value is not None and owner is Owner.OURS:
            return Turn.SHARED
        if path in self.wanted:
            if owner is not Owner.ANOTHER:
                return Turn.LOST
            self.lost(path)
            return Turn.TAKEN
        if value is None and path in self.doubtful and not self.complete:
            return Turn.LOST
        was_doubtful = self.doubtful.pop(path, None) is not None
        self._written.pop(path, None)
        self._compare(path)
        return Turn.MOVED if was_doubtful and value is not None else None

    def is_written(self, path: bytes) -> bool:
        """Tell whether a key is on the lease, as far as is known."""
        return path in self._written

    def found(self, path: bytes) -> None:
        """Record that a key is on the lease, with some value."""
        self._written[path] = b""
        self._compare(path)

    def lost(self, path: bytes) -> None:
        """Have a key written again, also one that was found and may be wanted."""
        self._written.pop(path, None)
        if not self.complete and (found := self.doubtful.get(path)):
            self.wanted[path] = found
        self._compare(path)

    def _compare(self, path: bytes) -> None:
        wanted, written = self.wanted.get(path), self._written.get(path)
        if wanted is not None:
            self.doubtful.pop(path, None)
        _mark(self._missing, path, wanted is not None and wanted != written)
        _mark(self._surplus, path, wanted is None and written is not None)


def _mark(paths: dict[bytes, None], path: bytes, marked: bool) -> None:
    if marked:
        paths[path] = None
    else:
        paths.pop(path, None)
