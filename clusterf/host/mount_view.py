"""A mount namespace in which users may enter directories that lie below those of root only.

There a directory that only root may enter, such as /root, is an empty one with nothing in it but the
directories that a node needs, at the paths that they have. Outside nothing changes. It takes CAP_SYS_ADMIN.
The calls are mount(2), open_tree(2), move_mount(2) and setns(2), with the numbers of `linux/mount.h`.
"""

import ctypes
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["MountView", "enter"]

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_SLAVE = 0x2, 0x4, 0x8, 0x4000, 0x80000
_MNT_DETACH = 2
_OPEN_TREE, _MOVE_MOUNT = 428, 429  # the same on all architectures
_OPEN_TREE_CLONE, _AT_RECURSIVE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 0x8000, 4
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)


class _Shown(NamedTuple):
    """A directory, and whether it is read-only: a mount keeps the flags of the one that it was made of."""

    device: int
    inode: int
    read_only: bool


class MountView:
    """Such a namespace: in it, of the directories `closed` nothing is left but those of `shown` that lie below them.

    Paths are absolute. One that is missing is left out until `refresh` finds it. Raises OSError.
    """

    def __init__(self, closed: Iterable[Path], shown: Iterable[Path]) -> None:
        hidden = frozenset(closed)
        # what is to be found where; a path may lead through a closed directory, or there by a link
        self._sources = {
            target: path for path in shown for target in (path, path.resolve()) if not hidden.isdisjoint(target.parents)
        }
        # what is shown there
        self._shown: dict[Path, _Shown] = {}
        self.namespace = _make(sorted(hidden))
        self.refresh()

    def refresh(self) -> bool:
        """Show what is at each path now, as a directory may have been replaced, or remounted; return whether one was.

        Raises OSError.
        """
        before = dict(self._shown)
        for target, source in sorted(self._sources.items()):
            if not any(parent in self._sources for parent in target.parents):
                self._show(target, source)
        return self._shown != before

    def close(self) -> None:
        """Let go of the namespace, which lasts as long as a process is in it."""
        os.close(self.namespace)

    def _show(self, target: Path, source: Path) -> None:
        try:
            status, system = source.stat(), os.statvfs(source)
        except OSError:
            return  # what was shown stays
        now = _Shown(status.st_dev, status.st_ino, bool(system.f_flag & os.ST_RDONLY))
        if self._shown.get(target) != now:
            _in_child(lambda: self._mount(target, source))
            self._shown[target] = now

    def _mount(self, target: Path, source: Path) -> None:
        name = os.fsencode(target)
        clone = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
        tree = _call("open_tree", _libc.syscall, _OPEN_TREE, _AT_FDCWD, os.fsencode(source), clone)
        enter(self.namespace)
        os.umask(0)
        for directory in [*reversed(target.parents), target]:
            with suppress(FileExistsError):
                directory.mkdir(mode=0o711)
        if target in self._shown:
            _call("umount2", _libc.umount2, name, _MNT_DETACH)
        _call("move_mount", _libc.syscall, _MOVE_MOUNT, tree, b"", _AT_FDCWD, name, _MOVE_MOUNT_F_EMPTY_PATH)


def enter(namespace: int) -> None:
    """Move this process, which has no threads, into a namespace; the working directory stays, if it is there.

    Raises OSError.
    """
    before = Path.cwd()
    _call("setns", _libc.setns, namespace, _CLONE_NEWNS)
    with suppress(OSError):
        os.chdir(before)


def _make(closed: Iterable[Path]) -> int:
    """Return the descriptor of a new namespace, in which these directories are empty. Raises OSError."""
    ours, childs = socket.socketpair()
    with ours, childs:

        def work() -> None:
            ours.close()
            _be_namespace(closed)
            childs.send(b"ready")
            childs.recv(1)  # until it has been opened

        child = _fork(work)
        childs.close()
        namespace = -1
        if ours.recv(5):
            namespace = os.open(f"/proc/{child}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    _wait(child)
    return namespace


def _be_namespace(closed: Iterable[Path]) -> None:
    _call("unshare", _libc.unshare, _CLONE_NEWNS)
    # mounts outside become visible here, but not the reverse
    _mount(b"none", b"/", b"", _MS_REC | _MS_SLAVE)
    for directory in closed:
        _mount(b"clusterf", os.fsencode(directory), b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, b"mode=0711,size=1m")


def _mount(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes = b"") -> None:
    _call("mount", _libc.mount, source, target, kind, ctypes.c_ulong(flags), data)


def _in_child(work: Callable[[], None]) -> None:
    """Do in a child what would change this process's own view. Raises OSError."""
    _wait(_fork(work))


def _fork(work: Callable[[], None]) -> int:
    """Have a child do that, which exits with the number of the error."""
    if (child := os.fork()) != 0:
        return child
    status = 1
    try:
        work()
        status = 0
    except OSError as error:
        status = error.errno or status
    finally:
        os._exit(status)


def _wait(child: int) -> None:
    """Wait for the end of a child. Raises OSError if it has failed."""
    _, status = os.waitpid(child, 0)
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        raise OSError(code, f"mount namespace: {os.strerror(code)}" if code > 0 else "mount namespace: killed")


def _call(name: str, function: Callable[..., int], *arguments: object) -> int:
    result = function(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result
