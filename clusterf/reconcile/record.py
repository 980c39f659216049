"""What in the kernel is ours, on record across restarts.

The kernel does not say who made a thing. So it is written down before it is
made, and what is not on record is others'. A record counts for one boot and one
network namespace, as what is in the kernel does.
"""

import os
from collections.abc import Iterator, Mapping

from clusterf.host.boot import boot_id
from clusterf.lib.store import Store

__all__ = ["Record"]


class Record:
    """What is ours of one kind, in `store`, for this boot and network namespace."""

    def __init__(self, store: Store, kind: str) -> None:
        """Open the record, and drop those of earlier boots."""
        boot = boot_id()
        self._store = store
        self._section = f"{kind} {boot} {os.stat('/proc/self/ns/net').st_ino}"  # noqa: PTH116
        store.drop(f"{kind} ", but=f"{kind} {boot} ")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield what is on record, each key with its value."""
        return self._store.items(self._section)

    def get(self, key: bytes) -> bytes | None:
        """Return what is on record for `key`, None if nothing is."""
        return self._store.get(self._section, key)

    def update(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write down what has become ours, and with None what has ceased to be."""
        self._store.update(self._section, changes)
