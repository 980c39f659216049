"""Files of ours, in a directory that is trusted (`clusterf.lib.files.trusted`).

What is no regular file is never opened: a link would lead elsewhere, and who opens a
pipe waits. Nor is a file of another user, or one that has a second name, by which it
may be anything. New files are for their owner only; ours of earlier versions become so.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from clusterf.lib.files.trusted import UntrustedError, describe_user, owners

__all__ = ["MODE", "look", "move_aside", "open_file", "read_file", "tighten", "write_file"]

MODE: Final = 0o600
_KINDS: Final = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def look(path: Path, dir_fd: int | None = None) -> os.stat_result | None:
    """Return what there is of the file, None if it is missing. Raises UntrustedError if it is none of ours, OSError."""
    try:
        found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    _check(path, found)
    return found


def open_file(path: Path, flags: int, dir_fd: int | None = None) -> int:
    """Return a descriptor of the file, which is made if it is missing and `flags` have O_CREAT. Raises as `look`.

    With `dir_fd` the path is a name in that directory.
    """
    look(path, dir_fd)
    fd = os.open(path, flags | _FLAGS, MODE, dir_fd=dir_fd)
    try:
        found = os.fstat(fd)
        _check(path, found)
        _tighten(fd, found)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_file(path: Path, limit: int = 65536) -> bytes:
    """Return what is in the file, at most `limit` bytes. Raises as `look`, and FileNotFoundError."""
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read(limit)


def write_file(path: Path, content: bytes) -> None:
    """Replace the file, or whatever but a directory is there, in one step. Raises OSError."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(content)
    draft.replace(path)


def tighten(path: Path) -> None:
    """Take the file from all but its owner, without opening it, which would end locks of this process. Raises OSError.

    A file that is missing is left so.
    """
    found = look(path)
    if found is not None:
        _tighten(path, found)


def move_aside(path: Path) -> Path:
    """Rename what is at the path, if anything is; return where it is now. Raises OSError."""
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(FileNotFoundError):
        path.replace(aside)
    return aside


def _check(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        # nobody is led astray by it, and what is in it may be of use
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise UntrustedError(path, _KINDS[stat.S_IFMT(found.st_mode)])
    if found.st_uid not in owners():
        raise UntrustedError(path, f"owned by user {describe_user(found.st_uid)}")
    # of its own files a user may have further names, which anybody can make where the kernel lets him (proc(5),
    # protected_hardlinks); root never takes one for its own
    if found.st_nlink > 1 and (os.geteuid() == 0 or found.st_uid != os.geteuid()):
        raise UntrustedError(path, f"a file with {found.st_nlink} names")


def _tighten(file: Path | int, found: os.stat_result) -> None:
    """Take a file of this user, or as root an open one of any of ours, from all others."""
    user = os.geteuid()
    # (root may do so to any, but what is at a path in a directory of another user may change at once)
    if not found.st_mode & 0o077 or not (found.st_uid == user or (user == 0 and isinstance(file, int))):
        return
    try:
        os.chmod(file, MODE)  # noqa: PTH101 - of a descriptor, too
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EPERM}:  # read-only or immutable: it can be used as it is
            raise
