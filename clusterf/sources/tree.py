"""A configuration tree on disk: its files, and which of them changed since the last scan.

Level-triggered: an event only names the path to scan, and the scan returns what is
there now. Names are bytes. Everything below a name that starts with `.` is
ignored; symbolic links are followed.

A file is gone if its name, or that of a directory above it, is gone from the
directory it was in. A name that is there but leads nowhere (a symbolic link without
its target, an unmounted file system), or to what is no file, is unreadable.
"""

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sortedcontainers import SortedDict

from clusterf.config.decode import MAX_SIZE
from clusterf.config.keys import parse_key
from clusterf.etcd.values import Oversized
from clusterf.lib.store import is_below
from clusterf.sources.mounts import Mounts

__all__ = ["Entry", "FileTree"]

_DEPTH = 5  # one level more than any key has, so that deeper files are reported; also bounds loops of links
_USUAL = 4096  # bytes; reading MAX_SIZE at once would map memory for each small file
_RACY = 2.0  # seconds; a file that changed within this time may change again without a new time stamp


class Entry(NamedTuple):
    """A path relative to the root, and the bytes of its file; None and no `error`: there is no file.

    `error`: why the path, and everything below it, is unreadable.
    """

    path: bytes
    raw: bytes | Oversized | None = None
    error: str = ""


class FileTree:
    """The files below `root` that were found by scans, and how to tell whether they have changed."""

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)
        # path → the signature of its file, 0 if it may have changed without a trace
        self._seen: SortedDict = SortedDict()
        # where the root, and the directories on another file system than the directory above them, are mounted
        self.mounts = Mounts()

    def identity(self) -> tuple[int, int]:
        """Return what distinguishes this root directory from a replacement. Raises OSError if it is missing."""
        status = os.stat(self._root)  # noqa: PTH116
        return status.st_dev, status.st_ino

    def relative(self, path: str | bytes) -> bytes:
        """Return an absolute path below the root as one relative to it, empty for the root itself."""
        tail = os.path.relpath(os.fsencode(path), os.path.realpath(self._root))
        return b"" if tail == b"." else tail

    def paths(self) -> list[bytes]:
        """Return the paths of all files that the last scans found, or that are expected."""
        return list(self._seen)

    def expect(self, paths: Iterable[bytes]) -> None:
        """Have scans yield these files as gone if they are not found."""
        self._seen.update((path, 0) for path in paths if path not in self._seen)

    def forget(self, path: bytes) -> None:
        """No longer yield this file as gone."""
        self._seen.pop(path, None)

    def scan(self, path: bytes, *, reread: bool) -> Iterator[Entry]:
        """Yield the files at `path` (the root: empty) and below it, and those that are gone.

        A file that is gone is yielded by each scan until `forget`. Without `reread`,
        unchanged files are skipped. If a directory above `path` is unreadable, that is
        the only entry.
        """
        if any(part.startswith(b".") for part in path.split(b"/")):
            return
        found: set[bytes] = set()
        unreadable: list[bytes] = []
        for entry in self._reach(path, reread, found):
            if entry.error:
                unreadable.append(entry.path)
            yield entry
        for known in self._known(path):
            if known not in found and not any(is_below(known, root) for root in unreadable):
                yield Entry(known)

    def _known(self, path: bytes) -> list[bytes]:
        """Return the paths seen at `path` and below it."""
        if not path:
            return list(self._seen)
        below = self._seen.irange(path + b"/", path + b"0", inclusive=(True, False))
        return [path, *below] if path in self._seen else list(below)

    def _reach(self, path: bytes, reread: bool, found: set[bytes]) -> Iterator[Entry]:
        """Walk the tree at `path` if the directories above it are readable."""
        parts = path.split(b"/") if path else []
        device = 0
        for depth in range(len(parts)):
            above = b"/".join(parts[:depth])
            try:
                status = self._status(above, device)
            except OSError as error:
                yield Entry(above, error=error.strerror or str(error))
                return
            if status is None:
                return
            device = status.st_dev
        yield from self._walk(path, len(parts), device, reread, found)

    def _walk(self, path: bytes, depth: int, device: int, reread: bool, found: set[bytes]) -> Iterator[Entry]:
        """Yield the files at `path` and below it; `device` is that of the directory above."""
        absolute = os.path.join(self._root, path)  # noqa: PTH118
        try:
            status = self._status(path, device)
            if status is None:
                return
            # (nor is a directory that took the place of a key's file a deletion)
            if not stat.S_ISDIR(status.st_mode) or parse_key(path) is not None:
                if any(known != path for known in self._known(path)):
                    yield Entry(path, error="a file in the place of a directory")
                    return
                yield from self._file(path, absolute, status, reread, found)
                return
            names = os.listdir(absolute) if depth < _DEPTH else []  # noqa: PTH208
        except OSError as error:
            # a directory may be deleted before it is listed
            if not path or not _is_gone(absolute):
                yield Entry(path, error=error.strerror or str(error))
            return
        for name in sorted(names):
            if not name.startswith(b"."):
                below = os.path.join(path, name)  # noqa: PTH118
                yield from self._walk(below, depth + 1, status.st_dev, reread, found)

    def _status(self, path: bytes, device: int) -> os.stat_result | None:
        """Return the status of what is at `path`, None if the name is gone.

        `device` is that of the directory above. Raises OSError if it is unreadable; the
        root also if it is missing, as a missing tree is not an empty one.
        """
        status = _stat(os.path.join(self._root, path))  # noqa: PTH118
        if not path and (status is None or not stat.S_ISDIR(status.st_mode)):
            raise FileNotFoundError(errno.ENOENT, "the root directory is missing")
        if status is None:
            self.mounts.forget(path)
        elif stat.S_ISDIR(status.st_mode) and (path in self.mounts or status.st_dev != device):
            absolute = os.path.join(self._root, path)  # noqa: PTH118
            self.mounts.check(path, absolute, status.st_dev, lambda: self._has_lost(path))
        return status

    def _has_lost(self, path: bytes) -> bool:
        """Return whether there are known files below `path`, and none of them exists."""
        known = self._known(path)
        return bool(known) and not any(os.path.lexists(os.path.join(self._root, file)) for file in known)  # noqa: PTH118

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
        yield Entry(path, raw)


def _stat(path: bytes) -> os.stat_result | None:
    """Return the status of the file, None if its name is gone from its directory. Raises OSError."""
    try:
        return os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        pass
    if _is_gone(path):
        return None
    try:
        # it may have been created in between
        return os.stat(path)  # noqa: PTH116
    except FileNotFoundError as error:
        if os.path.islink(path):  # noqa: PTH114
            raise FileNotFoundError(errno.ENOENT, "the target of the symbolic link is missing") from error
        raise


def _is_gone(path: bytes) -> bool:
    """Return whether the name is gone from its directory."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _signature(status: os.stat_result) -> int:
    """Return a value that differs if the file has changed; 0 if it may still change without a trace."""
    if time.time() - status.st_mtime <= _RACY:
        return 0
    return hash((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def _read(path: bytes) -> tuple[bytes | Oversized, os.stat_result]:
    """Return the bytes of the file, unless there are more than a value may have, and its status after the read."""
    # a pipe in the file's place must not block
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        raw = file.read(_USUAL)
        if len(raw) == _USUAL:
            raw += file.read(MAX_SIZE + 1 - _USUAL)
        # status after the read: a file that is written during the read is then seen as changed
        status = os.fstat(fd)
        return Oversized(max(len(raw), status.st_size), MAX_SIZE) if len(raw) > MAX_SIZE else raw, status
