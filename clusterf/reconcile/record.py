"""What in the kernel is ours, recorded across restarts.

The kernel does not know who added an object. So objects are recorded before they
are added, and one that is not recorded belongs to somebody else. A record counts for one
boot and one network namespace, as the objects in the kernel do.
"""

from collections.abc import Iterator, Mapping

from clusterf.host.boot import boot_id, namespace_id
from clusterf.lib.store import Store

__all__ = ["Record"]


class Record:
    """The objects of one kind that are ours, in `store`, for this boot and network namespace."""

    def __init__(self, store: Store, kind: str) -> None:
        """Open the record, and drop the records of earlier boots."""
        boot = boot_id()
        self._store = store
        self._section = f"{kind} {boot} {namespace_id()}"
        # other keys under which an object was found, by the key that it has now
        self._synonyms: dict[bytes, list[bytes]] = {}
        store.drop(f"{kind} ", but=f"{kind} {boot} ")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield each recorded key with its value."""
        return self._store.items(self._section)

    def get(self, key: bytes) -> bytes | None:
        """Return the value recorded for `key`, None if there is none."""
        return self._store.get(self._section, key)

    def found(self, key: bytes, now: bytes) -> None:
        """Note that what is recorded as `key` has the key `now`, and is replaced or removed with that.

        Versions of Python write the same address in different ways (3.13: that of an IPv4-mapped one).
        """
        if key != now:
            self._synonyms.setdefault(now, []).append(key)

    def update(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Record keys that are ours, and remove those whose value is None."""
        synonyms = [key for now in changes for key in self._synonyms.pop(now, ())]
        self._store.update(self._section, {**dict.fromkeys(synonyms), **changes})
