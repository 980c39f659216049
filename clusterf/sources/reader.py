"""Sources as a whole: what one says at a moment, and what it says from then on."""

import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from clusterf.etcd.errors import EtcdError
from clusterf.etcd.client import Client, Listing
from clusterf.etcd.location import EtcdLocation
from clusterf.lib.store import Store
from clusterf.sources.etcd_follower import EtcdFollower
from clusterf.sources.last_good import KeyUpdate, LastGood
from clusterf.sources.tree import FileTree
from clusterf.sources.tree_follower import TreeFollower
from clusterf.sources.url import Source

__all__ = ["Found", "connect", "follow", "read"]

_LOOK_AGAIN = 60.0  # seconds between looks at all of what is followed
_PATIENCE = 2.0  # seconds that a follower may take to end


class Found(NamedTuple):
    """What is at a path, None if that cannot be read, and what it says."""

    path: bytes
    raw: bytes | None
    said: KeyUpdate

    @property
    def good(self) -> bytes | None:
        """The bytes of a value that can be used."""
        return self.raw if self.said.value is not None else None


def read(source: Source) -> list[Found]:
    """Return what is at each path of the source, sorted. Raises EtcdError."""
    state = LastGood(source.url, Store(None))
    if source.etcd is None:
        found = _read_tree(Path(source.tree or ""), state)
    else:
        client, listing = connect(source.etcd)
        client.close()
        found = (Found(path, raw, state.put(path, raw)) for path, raw in listing.items)
    return sorted(found, key=lambda one: one.path)


def _read_tree(root: Path, state: LastGood) -> Iterator[Found]:
    for entry in FileTree(root).look(b"", reread=True):
        if entry.trouble:
            yield from (Found(said.path, None, said) for said in state.unreadable(entry.path, entry.trouble))
        else:
            yield Found(entry.path, entry.raw, state.put(entry.path, entry.raw))


def connect(location: EtcdLocation) -> tuple[Client, Listing]:
    """Return a client of the first endpoint that answers, and all that it holds.

    Raises EtcdError with what each of them said where none does.
    """
    reasons = []
    for endpoint in location.endpoints:
        try:
            client = Client(location, endpoint)
        except EtcdError as error:
            reasons.append(str(error))
            continue
        try:
            return client, client.list()
        except BaseException as error:
            client.close()
            if not isinstance(error, EtcdError):
                raise
            reasons.append(str(error))
    raise EtcdError("; ".join(dict.fromkeys(reasons)))


def follow(source: Source) -> Generator[list[KeyUpdate], None, None]:
    """Yield all that the source says, then what it says anew, without end; close it to stop."""
    heard: SimpleQueue[list[KeyUpdate] | None] = SimpleQueue()
    follower = _follower(source, lambda said, _: heard.put(said))

    def run() -> None:
        try:
            follower.run()
        finally:
            heard.put(None)

    thread = threading.Thread(target=run, name="follower", daemon=True)
    thread.start()
    try:
        yield from iter(heard.get, None)
    finally:
        follower.stop()
        thread.join(_PATIENCE)


def _follower(source: Source, say: Callable[[list[KeyUpdate], bool], None]) -> EtcdFollower | TreeFollower:
    if source.etcd is not None:
        return EtcdFollower(source.url, source.etcd, None, _LOOK_AGAIN, say)
    return TreeFollower(source.url, Path(source.tree or ""), None, _LOOK_AGAIN, say)
