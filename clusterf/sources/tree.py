"""A configuration tree on disk: its files, and which of them changed since the last scan.

Level-triggered: an event only names the path to scan, and the scan returns what is
there now. Names are bytes. Everything below a name that starts with `.` is
ignored; symbolic links are followed.
"""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sortedcontainers import SortedDict

from clusterf.config.decode import MAX_SIZE
from clusterf.lib.store import is_below

__all__ = ["Entry", "FileTree"]

_DEPTH = 5  # one level more than any key has, so that deeper files are reported; also bounds loops of links
_USUAL = 4096  # bytes; reading MAX_SIZE at once would map memory for each small file
_RACY = 2.0  # seconds; a file that changed within this time may change again without a new time stamp


class Entry(NamedTuple):
    """A path relative to the root, and the bytes of its file; None and no `error`: there is no file.

    `error`: why the path, and everything below it, is unreadable. `age`: seconds since
    the last change, by the clock of the file system.
    """

    path: bytes
    raw: bytes | None = None
    error: str = ""
    age: float = float("inf")


class FileTree:
    """The files below `root` that were found by scans, and how to tell whether they have changed."""

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)
        # path → the signature of its file, 0 if it may have changed without a trace
        self._seen: SortedDict = SortedDict()

    def identity(self) -> tuple[int, int]:
        """Return what distinguishes this root directory from a replacement. Raises OSError if it is missing."""
        status = os.stat(self._root)  # noqa: PTH116
        return status.st_dev, status.st_ino

    def relative(self, path: str | bytes) -> bytes:
        """Return an absolute path below the root as one relative to it, empty for the root itself."""
        tail = os.path.relpath(os.fsencode(path), os.path.realpath(self._root))
        return b"" if tail == b"." else tail

    def paths(self) -> list[bytes]:
        """Return the paths of all files that the last scans found."""
        return list(self._seen)

    def scan(self, path: bytes, *, reread: bool) -> Iterator[Entry]:
        """Yield the files at `path` (the root: empty) and below it, and those that are gone.

        Without `reread`, unchanged files are skipped.
        """
        if any(part.startswith(b".") for part in path.split(b"/")):
            return
        found: set[bytes] = set()
        unreadable: list[bytes] = []
        for entry in self._walk(path, path.count(b"/") + 1 if path else 0, reread, found):
            if entry.error:
                unreadable.append(entry.path)
            yield entry
        for known in self._known(path):
            if known not in found and not any(is_below(known, root) for root in unreadable):
                del self._seen[known]
                yield Entry(known)

    def _known(self, path: bytes) -> list[bytes]:
        """Return the paths seen at `path` and below it."""
        if not path:
            return list(self._seen)
        below = self._seen.irange(path + b"/", path + b"0", inclusive=(True, False))
        return [path, *below] if path in self._seen else list(below)

    def _walk(self, path: bytes, depth: int, reread: bool, found: set[bytes]) -> Iterator[Entry]:
        absolute = os.path.join(self._root, path)  # noqa: PTH118
        try:
            status = os.stat(absolute)  # noqa: PTH116
            if not stat.S_ISDIR(status.st_mode):
                yield from self._file(path, absolute, status, reread, found)
                return
            names = os.listdir(absolute) if depth < _DEPTH else []  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            if not os.path.isdir(self._root):  # noqa: PTH112
                # a missing tree is not an empty one
                found.update(self._known(path))
                yield Entry(b"", error="the root directory is missing")
            return
        except OSError as error:
            yield Entry(path, error=error.strerror or str(error))
            return
        for name in sorted(names):
            if not name.startswith(b"."):
                yield from self._walk(os.path.join(path, name), depth + 1, reread, found)  # noqa: PTH118

    def _file(
        self,
        path: bytes,
        absolute: bytes,
        status: os.stat_result,
        reread: bool,
        found: set[bytes],
    ) -> Iterator[Entry]:
        found.add(path)
        if not stat.S_ISREG(status.st_mode):
            yield Entry(path, error="not a regular file")
            return
        if not reread and self._seen.get(path) == _signature(status) != 0:
            return
        try:
            raw, status = _read(absolute)
        except FileNotFoundError:
            found.discard(path)
            return
        except OSError as error:
            yield Entry(path, error=error.strerror or str(error))
            return
        self._seen[path] = _signature(status)
        yield Entry(path, raw, age=time.time() - status.st_mtime)


def _signature(status: os.stat_result) -> int:
    """Return a value that differs if the file has changed; 0 if it may still change without a trace."""
    if time.time() - status.st_mtime <= _RACY:
        return 0
    return hash((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def _read(path: bytes) -> tuple[bytes, os.stat_result]:
    """Return the first bytes of the file, one more than a value may have, and its status after the read."""
    # a pipe in the file's place must not block
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        raw = file.read(_USUAL)
        if len(raw) == _USUAL:
            raw += file.read(MAX_SIZE + 1 - _USUAL)
        # status after the read: a file that is written during the read is then seen as changed
        return raw, os.fstat(fd)
