"""Paths that nobody but root and this node's own users can have lead elsewhere.

A path is walked from the root directory, one component at a time, and links are
resolved here: each directory and each link on the way has to be ours. A directory that
others may write is none, except on the way through one with the sticky bit, such as
/tmp: what is ours in there, nobody else can rename or replace.

In a user namespace all users that it has no number for, the machine's root among them,
look like one (the overflow id). That one is trusted with what leads to a directory, as
our code was found that way, too, but with nothing in a directory that users share, and
not with the directory itself.
"""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from clusterf.lib.text import escape

__all__ = [
    "UntrustedError",
    "check_directory",
    "check_file",
    "check_root_decides",
    "describe_user",
    "is_roots_alone",
    "make_directory",
    "owners",
    "trust",
]

_LINKS: Final = 40  # on one path, as many as the kernel follows
_ROOT: Final = 0
_others: set[int] = set()


class UntrustedError(PermissionError):
    """What was found at a path is not ours, or others may replace it; `strerror` has the path and the `reason`."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = f"not trusted: {reason}"
        super().__init__(errno.EACCES, f"{escape(os.fsencode(path))}: {self.reason}")


def trust(uids: Iterable[int]) -> None:
    """Count these users as ours from now on in this process: those that the node's other processes run as."""
    _others.update(uids)


def owners() -> frozenset[int]:
    """Return the users that count as ours: root, the one that this process runs as, and those of `trust`."""
    return frozenset({_ROOT, os.geteuid(), *_others})


def check_directory(path: Path, also: Collection[int] = (), *, shared: bool = False) -> None:
    """Raise UntrustedError unless only our users, and those in `also`, can replace the directory or what is in it.

    With `shared` others may make something of their own in it. Raises OSError if there is none.
    """
    ours = owners().union(also)
    end = _walk(path, ours, make=False)
    _check_end(end, ours, shared=shared)


def check_file(path: Path) -> None:
    """Raise UntrustedError if others than our users may write the file, or replace it. Raises OSError, too."""
    ours = owners()
    real = Path(os.path.realpath(path))
    for one in {path, real}:
        _walk(one.parent, ours, make=False)
    found = os.lstat(real)
    _check_owner(real, found, ours)
    _check_writers(real, found, ours)


def is_roots_alone(path: Path) -> bool:
    """Tell whether nobody but root, and none of our users either, can have the path of a directory lead elsewhere."""
    try:
        check_root_decides(path)
    except OSError:
        return False
    return True


def check_root_decides(path: Path) -> None:
    """Raise UntrustedError if another user than root can have the path of a directory lead elsewhere, or OSError."""
    _walk(path, frozenset({_ROOT}), make=False)


def make_directory(path: Path) -> None:
    """Make the directory, for its owner only, and those above it, unless they are there. Raises as `check_directory`.

    What exists is checked before anything is made in it. Where another one of our users has decided, by a
    directory or a link, nothing is made: FileNotFoundError.
    """
    ours = owners()
    _check_end(_walk(path, ours, make=True), ours)


def describe_user(uid: int) -> str:
    """Return the number of a user, with the name if there is one."""
    try:
        return f"{uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return str(uid)


def _walk(path: Path, ours: frozenset[int], *, make: bool) -> Path:
    """Look at every component of the path, and of the links on it; return where it leads. Raises OSError."""
    here = Path("/")
    _check_mode(here, os.lstat(here), ours)
    ahead = list(path.absolute().parts[:0:-1])
    links = 0
    # whether only root and this process have decided where it leads, so far
    ours_alone = True
    while ahead:
        name = ahead.pop()
        there = here / name
        if name == "..":
            here = here.parent
            continue
        found = _found(there, mode=0o755 if ahead else 0o700) if make and ours_alone else os.lstat(there)
        ours_alone = ours_alone and found.st_uid in {_ROOT, os.geteuid()} | _unmapped()
        _check_owner(there, found, ours if _is_shared(os.lstat(here)) else ours | _unmapped())
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = there.readlink()
            ahead += reversed(target.parts[target.is_absolute() :])
            here = Path("/") if target.is_absolute() else here
        elif stat.S_ISDIR(found.st_mode):
            _check_mode(there, found, ours)
            here = there
        else:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    return here


def _found(path: Path, mode: int) -> os.stat_result:
    """Return what is at the path: if nothing was, a new directory."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        with suppress(FileExistsError):  # somebody was faster: whose it is, is seen now
            path.mkdir(mode)
        return os.lstat(path)


def _check_owner(path: Path, found: os.stat_result, allowed: frozenset[int]) -> None:
    if found.st_uid not in allowed:
        kind = "a link of" if stat.S_ISLNK(found.st_mode) else "owned by"
        raise UntrustedError(path, f"{kind} user {describe_user(found.st_uid)}")


def _check_mode(path: Path, found: os.stat_result, ours: frozenset[int]) -> None:
    """Raise UntrustedError if others may replace what is in the directory."""
    if not found.st_mode & stat.S_ISVTX:
        _check_writers(path, found, ours)


def _check_end(path: Path, ours: frozenset[int], *, shared: bool = False) -> None:
    """Raise UntrustedError if the directory at the end of a path is not ours, and ours alone unless `shared`."""
    found = os.lstat(path)
    _check_owner(path, found, ours)
    if not shared:
        _check_writers(path, found, ours)


def _check_writers(path: Path, found: os.stat_result, ours: frozenset[int]) -> None:
    if found.st_mode & stat.S_IWOTH:
        raise UntrustedError(path, "everybody may write to it")
    if found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid, ours):
        raise UntrustedError(path, f"group {_describe_group(found.st_gid)} may write to it")


def _is_shared(found: os.stat_result) -> bool:
    return bool(found.st_mode & (stat.S_IWOTH | stat.S_IWGRP))


def _is_private(gid: int, ours: frozenset[int]) -> bool:
    """Tell whether no other users than ours are in the group: root's own, or as many systems make one for each user."""
    if gid == _ROOT:
        return True
    try:
        names = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return False
    users = pwd.getpwall()
    members = {user.pw_uid for user in users if user.pw_gid == gid or user.pw_name in names}
    return bool(members) and members <= ours and names <= {user.pw_name for user in users}


def _describe_group(gid: int) -> str:
    try:
        return f"{gid} ({grp.getgrgid(gid).gr_name})"
    except KeyError:
        return str(gid)


@cache
def _unmapped() -> frozenset[int]:
    """Return the number that users have who have none in this user namespace; empty if all have one."""
    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= overflow < first + count:
            return frozenset()
    return frozenset({overflow})
