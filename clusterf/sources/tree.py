"""A configuration tree on disk: what is in it, and what has become of some paths.

Level-triggered: an event only says where to look, and looking says what is
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

_DEPTH = 5  # one more than any key has: what is there is seen and reported, and no link loop leads further
_USUAL = 4096  # bytes; to ask for the most at once would map memory of its own for every small file
_RACY = 2.0  # seconds; a file changed so lately may change again within one tick of its time stamps


class Entry(NamedTuple):
    """What is at a path, relative to the root.

    `raw` None and no `trouble`: nothing. With `trouble` it could not be read,
    nor anything below it, and nothing is known of it. `age` is how
    many seconds ago the last change was, by the clock of the file system.
    """

    path: bytes
    raw: bytes | None = None
    trouble: str = ""
    age: float = float("inf")


class FileTree:
    """The files below `root` that were seen, with what tells whether they have changed."""

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)
        # path → what its file looked like, 0 if that is not to be relied on
        self._seen: SortedDict = SortedDict()

    def identity(self) -> tuple[int, int]:
        """Return what tells this root from another one in its place. Raises OSError where it is away."""
        status = os.stat(self._root)  # noqa: PTH116
        return status.st_dev, status.st_ino

    def relative(self, path: str | bytes) -> bytes:
        """Return an absolute path below the root as one relative to it, empty for the root itself."""
        tail = os.path.relpath(os.fsencode(path), os.path.realpath(self._root))
        return b"" if tail == b"." else tail

    def paths(self) -> list[bytes]:
        """Return the paths of all files that were seen and are there."""
        return list(self._seen)

    def look(self, path: bytes, *, reread: bool) -> Iterator[Entry]:
        """Yield what is at `path` (the root: empty) and below it, and what no longer is.

        Without `reread` files that look as they did are left out.
        """
        if any(part.startswith(b".") for part in path.split(b"/")):
            return
        found: set[bytes] = set()
        troubled: list[bytes] = []
        for entry in self._walk(path, path.count(b"/") + 1 if path else 0, reread, found):
            if entry.trouble:
                troubled.append(entry.path)
            yield entry
        for known in self._known(path):
            if known not in found and not any(is_below(known, away) for away in troubled):
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
                # an absent tree is not an empty one
                found.update(self._known(path))
                yield Entry(b"", trouble="the tree is away")
            return
        except OSError as error:
            yield Entry(path, trouble=error.strerror or str(error))
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
            yield Entry(path, trouble="not a regular file")
            return
        if not reread and self._seen.get(path) == _looks(status) != 0:
            return
        try:
            raw, status = _read(absolute)
        except FileNotFoundError:
            found.discard(path)
            return
        except OSError as error:
            yield Entry(path, trouble=error.strerror or str(error))
            return
        self._seen[path] = _looks(status)
        yield Entry(path, raw, age=time.time() - status.st_mtime)


def _looks(status: os.stat_result) -> int:
    """Return what tells whether a file has changed, 0 if it may yet change without a trace."""
    if time.time() - status.st_mtime <= _RACY:
        return 0
    return hash((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def _read(path: bytes) -> tuple[bytes, os.stat_result]:
    """Return the first bytes of the file, one more than a value may have, and what it looked like afterwards."""
    # a pipe in the file's place must not make us wait
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        raw = file.read(_USUAL)
        if len(raw) == _USUAL:
            raw += file.read(MAX_SIZE + 1 - _USUAL)
        # afterwards, so that bytes that were read while they were being written never pass for old ones
        return raw, os.fstat(fd)
