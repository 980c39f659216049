"""Keys that several nodes may publish: which of ours wait for another node, and which have another name.

A container belongs to one engine, but two nodes may follow that; a network may be that of several
engines, as an overlay is. Two nodes that each write such a key whenever the other has done so would never end.
So a key on the lease of another node that lives is left to it:

* It has our value: nothing is to be done.
* It is a route, which leads to the other node: ours is published under a name of its own.
* It is the backend of another publisher: we stand by, and publish it when the other node no longer
  renews its lease, which is before that ends, so that the key is never gone.
* It is a backend of ours, of an earlier run: it is written over, unless somebody has just taken it from us. Then
  there is another node with our name, and we stand by.

This is bookkeeping without I/O: what is to be written follows from `LeasedKeys`, which want all that we do not
wait for.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import NamedTuple

import msgspec

from clusterf.leases.leased_keys import LeasedKeys

__all__ = ["Claims", "Rival"]


class Rival(NamedTuple):
    """What another node has published at a path that we want: its lease, the key's revision, and its value."""

    lease: int
    revision: int
    value: bytes


class _Published(msgspec.Struct):
    publisher: str | None = None


class _Waiting(NamedTuple):
    value: bytes
    rival: Rival


class Claims:
    """Has `keys` want what this node, `publisher`, publishes, but for what others have.

    `own_name` returns under which path a key is published that another node has; None: it waits.
    """

    def __init__(
        self, keys: LeasedKeys, publisher: str = "", own_name: Callable[[bytes], bytes | None] = lambda _: None
    ) -> None:
        self.keys = keys
        self.publisher = publisher
        self._own_name = own_name
        self._waiting: dict[bytes, _Waiting] = {}
        # the keys that are published under names of their own; all else is by name
        self.renamed: dict[bytes, bytes] = {}
        # those that somebody has written after us
        self._taken: set[bytes] = set()
        # those that are to be written over, if that is still their revision
        self.over: dict[bytes, int] = {}
        # those that wait although the node that had them has removed them, as of late, and before: the same has most
        # likely happened to us, too, and we are about to hear of it
        self._freed: set[bytes] = set()
        self._freed_before: set[bytes] = set()
        # leases that were ours, from which keys of ours are moved although others keep them alive
        self.former: set[int] = set()
        # the publishers that we were reported to stand by for, with a lease of each
        self.reported: dict[str, int] = {}

    def want(self, path: bytes, value: bytes | None) -> None:
        """Want `path` to have this value; None: to be absent."""
        name = self.renamed.get(path, path)
        if value is None:
            self._forget(name)
            self.renamed.pop(path, None)
        elif (waiting := self._waiting.get(name)) is not None:
            if waiting.value == value:
                return
            del self._waiting[name]
        self.keys.want(name, value)

    def want_only(self, wanted: Mapping[bytes, bytes]) -> None:
        """Want exactly these keys."""
        self.renamed = {path: name for path, name in self.renamed.items() if path in wanted}
        named = {self.renamed.get(path, path): value for path, value in wanted.items()}
        for name in {*self._waiting, *self._taken, *self.over} - named.keys():
            self._forget(name)
        self._waiting = {name: one for name, one in self._waiting.items() if one.value == named[name]}
        self.keys.want_only({name: value for name, value in named.items() if name not in self._waiting})

    def refused(self, path: bytes, rival: Rival) -> bytes | None:
        """Take in that a wanted key is on the lease of another node; return where it is published instead, if it is."""
        value = self.keys.wanted.get(path)
        if value is None:
            return None
        if rival.lease in self.former:
            self.over[path] = rival.revision
            return None
        if value != rival.value:
            if (own := self._own_name(path)) is not None:
                # (it has such a name already if another node has ours)
                first = next((one for one, name in self.renamed.items() if name == path), path)
                self.renamed[first] = own
                self.keys.want(own, value)
                self.keys.want(path, None)
                return own
            if _publisher(rival.value) in {None, self.publisher} and path not in self._taken:
                self.over[path] = rival.revision
                return None
        self._waiting[path] = _Waiting(value, rival)
        self.keys.want(path, None)
        return None

    def taken(self, path: bytes) -> None:
        """Take in that another node has written a key, on its lease."""
        if path in self.keys.wanted:
            self._taken.add(path)

    def freed(self, paths: Iterable[bytes]) -> None:
        """Take in that these are no longer on the lease of another node."""
        self._freed |= self._waiting.keys() & set(paths)

    def retry(self, *, all_of_them: bool = False) -> None:
        """Have what was free the last time already, and still is, written, or all that waits, as it may be free."""
        for path in list(self._waiting) if all_of_them else self._freed_before & self._waiting.keys():
            self._retry(path)
        self._freed_before, self._freed = self._freed & self._waiting.keys(), set()

    def done(self, path: bytes) -> None:
        """Take in that a key is written."""
        self.over.pop(path, None)
        self._taken.discard(path)

    def late(self, lease: int) -> list[bytes]:
        """Take in that nobody renews a lease; return the keys that are to be written over for that."""
        mine = [path for path, one in self._waiting.items() if one.rival.lease == lease]
        for path in mine:
            self.over[path] = self._retry(path).rival.revision
            self._taken.discard(path)
        return mine

    @property
    def has_freed(self) -> bool:
        """Whether `freed` has told something since the last `retry`."""
        return bool(self._freed)

    @property
    def rivals(self) -> dict[int, list[bytes]]:
        """The paths of the keys that we wait for, by the leases that they are on."""
        rivals: dict[int, list[bytes]] = {}
        for path, one in self._waiting.items():
            rivals.setdefault(one.rival.lease, []).append(path)
        return rivals

    def publishers(self, namesakes: Container[int]) -> dict[str, int]:
        """Return for whom we wait, each with a lease of theirs.

        With our own name it is a node, and not we of an earlier run, if its lease is one of `namesakes`.
        """
        found: dict[str, int] = {}
        for one in self._waiting.values():
            name, lease = _publisher(one.rival.value), one.rival.lease
            if name is not None and (name != self.publisher or lease in namesakes):
                found[name] = lease
        return found

    def _retry(self, path: bytes) -> _Waiting:
        one = self._waiting.pop(path)
        self.keys.want(path, one.value)
        return one

    def _forget(self, path: bytes) -> None:
        self._waiting.pop(path, None)
        self._taken.discard(path)
        self.over.pop(path, None)


def _publisher(value: bytes) -> str | None:
    try:
        return msgspec.json.decode(value, type=_Published).publisher
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None
