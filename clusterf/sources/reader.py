"""Reading a source once, and following it without keeping a copy: for the tool."""

import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from clusterf.etcd.endpoints import first_answer
from clusterf.etcd.values import Oversized
from clusterf.lib.store import Store
from clusterf.sources.etcd_follower import EtcdFollower
from clusterf.sources.follower import Follower, OnUpdate
from clusterf.sources.last_good import KeyUpdate, LastGood
from clusterf.sources.tree import FileTree
from clusterf.sources.tree_follower import TreeFollower
from clusterf.sources.url import Source

__all__ = ["KeyContent", "follow", "read"]

_INTERVAL = 60.0  # seconds between two full reads of a source that is followed
_PATIENCE = 2.0  # seconds that a follower may take to stop


class KeyContent(NamedTuple):
    """The bytes at a path of a source, None if unreadable or too many, and what they decode to."""

    path: bytes
    raw: bytes | None
    update: KeyUpdate

    @property
    def valid(self) -> bytes | None:
        """The bytes, if they decode to a value."""
        return self.raw if self.update.value is not None else None


def read(source: Source) -> list[KeyContent]:
    """Return the content of each path of the source, sorted by path. Raises EtcdError."""
    last_good = LastGood(source.url, Store(None))
    if source.etcd is None:
        contents = _read_tree(Path(source.tree or ""), last_good)
    else:
        listing = first_answer(source.etcd, lambda client: client.list())
        contents = (_content(path, raw, last_good) for path, raw in listing.items)
    return sorted(contents, key=lambda content: content.path)


def _read_tree(root: Path, last_good: LastGood) -> Iterator[KeyContent]:
    for entry in FileTree(root).scan(b"", reread=True):
        if entry.error:
            yield from (KeyContent(u.path, None, u) for u in last_good.unreadable(entry.path, entry.error))
        else:
            yield _content(entry.path, entry.raw, last_good)


def _content(path: bytes, raw: bytes | Oversized | None, last_good: LastGood) -> KeyContent:
    return KeyContent(path, None if isinstance(raw, Oversized) else raw, last_good.put(path, raw))


def follow(source: Source) -> Generator[list[KeyUpdate], None, None]:
    """Yield the content of the source as updates, then its changes, without end; close it to stop."""
    queue: SimpleQueue[list[KeyUpdate] | None] = SimpleQueue()
    follower = _follower(source, lambda updates, _: queue.put([u for u in updates if isinstance(u, KeyUpdate)]))

    def run() -> None:
        try:
            follower.run()
        finally:
            queue.put(None)

    thread = threading.Thread(target=run, name="follower", daemon=True)
    thread.start()
    try:
        yield from iter(queue.get, None)
    finally:
        follower.stop()
        thread.join(_PATIENCE)


def _follower(source: Source, on_update: OnUpdate) -> Follower:
    if source.etcd is not None:
        return EtcdFollower(source.url, source.etcd, None, _INTERVAL, on_update)
    return TreeFollower(source.url, Path(source.tree or ""), None, _INTERVAL, on_update)
