"""Whether another user can get at a file: may enter each directory above it, and read it.

By the modes alone, as the kernel judges without capabilities; access control lists are not looked at.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from clusterf.host.users import User

__all__ = ["first_closed", "may_read", "may_read_all"]


def first_closed(path: Path, user: User) -> Path | None:
    """Return the topmost directory on the way to an absolute path that the user may not enter; None if all are open.

    What is missing is not in the way.
    """
    # (links are followed, and a link may lie in a closed directory, too)
    for way in (path, path.resolve()):
        for directory in reversed(way.parents):
            try:
                if not _has(directory.stat(), user, stat.S_IXOTH):
                    return directory.resolve()
            except OSError:
                break
    return None


def may_read(path: Path, user: User) -> bool:
    """Tell whether the user can read a file, or list and enter a directory. What is missing is no obstacle."""
    if first_closed(path, user) is not None:
        return False
    try:
        status = path.stat()
    except OSError:
        return True
    return _has(status, user, stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else stat.S_IROTH)


def may_read_all(root: Path, user: User) -> bool:
    """Tell whether the user can read a directory with all that is below it, and what links in it lead to."""
    if not may_read(root, user):
        return False
    try:
        for entry in _entries(root):
            needed = stat.S_IROTH | stat.S_IXOTH if entry.is_dir() else stat.S_IROTH
            if entry.is_symlink():
                if not may_read(Path(entry.path), user):
                    return False
            elif not _has(entry.stat(), user, needed):
                return False
    except OSError:
        pass  # it is changing: what cannot be read is reported when it is read
    return True


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    """Yield all that is below a directory, not what is behind links."""
    with os.scandir(directory) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path))


def _has(status: os.stat_result, user: User, needed: int) -> bool:
    """Tell whether the user has rights, given as those of others (path_resolution(7))."""
    if status.st_uid == user.uid:
        needed <<= 6
    elif status.st_gid in {user.gid, *user.groups}:
        needed <<= 3
    return status.st_mode & needed == needed
