"""Paths of a source whose value was never seen, though something may be in force for them.

That is so if the records are lost, and a value is invalid or unreadable as the process starts. Only
what is in the kernel tells that there was one. The paths are recorded, as a later start finds records again.
"""

import time
from datetime import UTC, datetime

from clusterf.sources.source_record import SourceRecord

__all__ = ["UnknownPaths"]

_NAME = "unknown"


class UnknownPaths:
    """The paths, kept in `record`; true if there are any."""

    def __init__(self, record: SourceRecord) -> None:
        self._record = record
        self._since, paths = record.get(_NAME, tuple[str, list[bytes]]) or ("", [])
        self._paths = set(paths)
        self._changed = False

    def __bool__(self) -> bool:
        return bool(self._paths)

    def paths(self) -> frozenset[bytes]:
        """Return them as they are now."""
        return frozenset(self._paths)

    @property
    def since(self) -> str:
        """When the last of them was added, which tells one loss of records from another."""
        return self._since

    def add(self, path: bytes) -> None:
        """Note that what the path had is not known."""
        if path not in self._paths:
            self._paths.add(path)
            self._since = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
            self._changed = True

    def discard(self, path: bytes) -> None:
        """Note that it is known, or no longer matters."""
        self._changed |= path in self._paths
        self._paths.discard(path)

    def clear(self) -> None:
        """Have none of them matter any longer."""
        self._changed |= bool(self._paths)
        self._paths.clear()

    def save(self) -> None:
        """Record the paths if they have changed."""
        if self._changed:
            self._changed = False
            self._record.put(_NAME, (self._since, sorted(self._paths)) if self._paths else None)
