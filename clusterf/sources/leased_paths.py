"""Which lease each path of a source is on. It is recorded, so that it is known after a restart, too."""

from collections.abc import Collection

from clusterf.lib.store import Store

__all__ = ["LeasedPaths"]


class LeasedPaths:
    """The lease of each path of the source at `url` that is on one, in a section of the store."""

    def __init__(self, url: str, store: Store) -> None:
        self._store = store
        self._section = self.section(url)
        self._leases: dict[bytes, int] = {}
        self._paths: dict[int, set[bytes]] = {}
        # what the next save will write
        self._changes: dict[bytes, bytes | None] = {}
        for path, raw in store.items(self._section):
            self.put(path, int.from_bytes(raw, signed=True))
        self._changes = {}

    @staticmethod
    def section(url: str) -> str:
        """Return the section of the store that has the leases of the paths of the source at `url`."""
        return f"leases {url}"

    @property
    def leases(self) -> Collection[int]:
        """The leases that paths are on."""
        return self._paths.keys()

    @property
    def paths(self) -> Collection[bytes]:
        """The paths that are on leases."""
        return self._leases.keys()

    def lease(self, path: bytes) -> int:
        """Return the lease that the path is on, 0: none."""
        return self._leases.get(path, 0)

    def put(self, path: bytes, lease: int) -> None:
        """Set the lease that the path is on, 0: none."""
        before = self.lease(path)
        if lease == before:
            return
        if before:
            del self._leases[path]
            self._paths[before].discard(path)
            if not self._paths[before]:
                del self._paths[before]
        if lease:
            self._leases[path] = lease
            self._paths.setdefault(lease, set()).add(path)
        self._changes[path] = lease.to_bytes(8, signed=True) if lease else None

    def save(self) -> None:
        """Write the changes to disk."""
        if self._changes:
            changes, self._changes = self._changes, {}
            self._store.update(self._section, changes)
