"""The state directory and the runtime directory of a node, with what its processes' users have in them.

The state directory is that of the node's user, who alone has what is in it but for the directory `probe`: that is
the health processes'. The runtime directory is the supervisor's, with a directory for each of the two users.
Nobody else could make them anew if they are removed while the node runs.

What is root's is given away only if it is the node's: what this or an earlier version has made as root, by its
name. In the directory of a user, who may have renamed what root had there, that is only so at the start.
"""

import logging
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from actors.settings import HEALTH, INCOMPLETE, PROBE, PROBE_INCOMPLETE
from clusterf.host.users import User, Users
from clusterf.lib.files.regular import open_file
from clusterf.lib.files.trusted import UntrustedError, describe_user, is_roots_alone, make_directory
from clusterf.lib.state_mark import void_name

__all__ = ["NodeDirectories", "foreign_in"]

log = logging.getLogger(__name__)

# names of files of this and earlier versions, with what is beside them: SQLite's, marks, drafts, and damaged ones
_OURS = re.compile(rf"(?:config|ipvs|docker|{HEALTH}[0-9]*)\.(?:db|lease)[-.\w]*|lock[-.\w]*|{PROBE}")
_OF_FILE_SYSTEMS = "lost+found"  # in the root of each
_VERDICTS = re.compile(rf"({HEALTH}[0-9]*\.db)[-.\w]*")  # with what is beside it


class _Directory(NamedTuple):
    """A directory, who is to have it and the files in it, and its mode."""

    path: Path
    user: User | None  # None: root, or who started the node
    mode: int
    within: "_Directory | None" = None
    former: frozenset[int] = frozenset()
    # whether there may be more than the node's files
    shared: bool = False

    @property
    def owners(self) -> frozenset[int]:
        """Those whose it may be: root, or who started the node; its user; and who that was at earlier starts."""
        return frozenset({os.geteuid(), *self.former, *([] if self.user is None else [self.user.uid])})

    @property
    def givers(self) -> frozenset[int]:
        """Those whose files in it may be given away: what is root's, a user may have put into his directory."""
        return self.owners if self.user is None else self.owners - {os.geteuid()}

    def is_right(self) -> bool:
        """Tell whether it is there, and that user's."""
        try:
            found = self.path.stat() if self.within is None else self.path.lstat()
        except OSError:
            return False
        return self.user is None or found.st_uid == self.user.uid


class NodeDirectories:
    """Keeps the directories there, for these users: root twice if all processes are root's; None: whose they are."""

    def __init__(self, state: Path, runtime: Path, users: Users | None) -> None:
        node, probe, former_node, former_probe = users or (None, None, frozenset(), frozenset())
        entered = 0o711 if users is not None and users.node.uid != 0 else 0o700
        self._state = _Directory(state, node, entered, former=former_node, shared=True)
        self._probe = _Directory(state / PROBE, probe, 0o700, self._state, former_probe, shared=True)
        self._runtime = _Directory(runtime, None, 0o711)
        self._incomplete = _Directory(runtime / INCOMPLETE, node, 0o700, self._runtime, former_node)
        self._probe_incomplete = _Directory(runtime / PROBE_INCOMPLETE, probe, 0o700, self._runtime, former_probe)

    def prepare(self, *, starting: bool = True) -> None:
        """Make what is missing, and give each user what is theirs; what cannot be done is logged.

        `starting`: none of the users has a process yet.
        """
        for directory in self._directories():
            try:
                _prepare(directory, starting=starting)
            except OSError as error:
                # whoever wants to write there reports it
                log.debug("directory %s: %s", directory.path, error.strerror)
        try:
            self._adopt()
        except OSError as error:
            log.debug("directory %s: earlier files cannot be moved: %s", self._state.path, error.strerror)

    def keep(self) -> None:
        """Make anew what has been removed. To be called from time to time."""
        if not all(directory.is_right() for directory in self._directories()):
            self.prepare(starting=False)

    def clear(self) -> None:
        """Remove what is empty of the runtime directory, as the node ends."""
        for directory in (self._incomplete, self._probe_incomplete):
            with suppress(OSError):  # what was not written is still to be noted
                directory.path.rmdir()

    def _directories(self) -> Iterator[_Directory]:
        yield from (self._state, self._probe, self._runtime, self._incomplete, self._probe_incomplete)

    def _adopt(self) -> None:
        """Move what earlier versions had elsewhere: verdicts, and notes of what was not written. Raises OSError."""
        with _opened(self._state) as state, _opened(self._probe) as probe:
            outdated = _make_way(state, probe)
            for name in sorted(os.listdir(state)):  # noqa: PTH208 - a descriptor
                if (file := _file_of(name)) is not None and file not in outdated:
                    note = self._runtime.path / void_name(self._state.path / name)
                    moved = self._probe_incomplete.path / void_name(self._probe.path / name)
                    with _opened(self._runtime) as runtime, _opened(self._probe_incomplete) as incomplete:
                        _move(note.name, runtime, moved.name, incomplete, self._probe.user, self._runtime)
                    _move(name, state, name, probe, self._probe.user, self._state)
        with _opened(self._runtime) as runtime, _opened(self._incomplete) as incomplete:
            for note in sorted(self._runtime.path.glob("incomplete-*-*")):
                _move(note.name, runtime, note.name, incomplete, self._incomplete.user, self._runtime)


def _file_of(name: str) -> str | None:
    """Return the name of the file of verdicts that a file is, or is beside; None: of none."""
    return match[1] if (match := _VERDICTS.fullmatch(name)) else None


def _make_way(earlier: int, now: int) -> set[str]:
    """Compare the verdicts of an earlier version with those that are where they belong now. Raises OSError.

    If an earlier version has run meanwhile, its verdicts are the newer ones, and the others are removed. Return
    the names of those that are not newer: they stay where they are, with what is beside them.
    """
    there = sorted(os.listdir(now), reverse=True)  # a file after what is beside it
    both = {name for name in os.listdir(earlier) if name in there and _file_of(name) == name}
    newer = {name for name in both if _last_written(name, earlier) > _last_written(name, now)}
    for name in there:
        if _file_of(name) in newer:
            os.unlink(name, dir_fd=now)
    return both - newer


def _last_written(name: str, within: int) -> int:
    """Return when a state file, or its log, was last written, in nanoseconds. Raises OSError."""
    found = os.stat(name, dir_fd=within, follow_symlinks=False).st_mtime_ns
    with suppress(FileNotFoundError):
        found = max(found, os.stat(f"{name}-wal", dir_fd=within, follow_symlinks=False).st_mtime_ns)
    return found


def _move(name: str, within: int, new_name: str, to: int, user: User | None, before: _Directory) -> None:
    """Move a file from one open directory, `before`, to another, unless it has one of that name. Raises OSError."""
    try:
        is_file = stat.S_ISREG(os.stat(name, dir_fd=within, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return
    if not is_file or new_name in os.listdir(to):
        return
    os.rename(name, new_name, src_dir_fd=within, dst_dir_fd=to)
    if user is not None:
        _give(new_name, to, user, before.givers)


def foreign_in(state: Path) -> str:
    """Return the name of something in the state directory that is not the node's, empty if there is none.

    One that other users have already is theirs. Raises OSError.
    """
    if state.stat().st_uid != os.geteuid():
        return ""
    return next((name for name in sorted(os.listdir(state)) if not _is_ours(name)), "")  # noqa: PTH208


def _is_ours(name: str) -> bool:
    return name == _OF_FILE_SYSTEMS or _OURS.fullmatch(name) is not None


def _make(directory: _Directory) -> bool:
    """Make the directory unless it is there; return whether it was not. Raises OSError."""
    if directory.within is None:
        there = directory.path.exists()
        make_directory(directory.path)
        return not there
    # not by its path, as the directory above may be a user's, who can have it lead anywhere
    with _opened(directory.within) as above:
        try:
            os.mkdir(directory.path.name, 0o700, dir_fd=above)
        except FileExistsError:
            return False
        return True


def _check_content(directory: _Directory, fd: int, *, starting: bool) -> None:
    """Raise UntrustedError if an open directory of root's, found in the place of a user's, is not the node's."""
    within = directory.within
    if within is not None and within.user is not None and not starting:
        raise UntrustedError(directory.path, "root's, and others may have put it there")
    foreign = next((name for name in sorted(os.listdir(fd)) if not _is_ours(name)), None)
    if foreign is not None:
        raise UntrustedError(directory.path, f"root's, with {foreign!r} in it, which is not the node's")


def _prepare(directory: _Directory, *, starting: bool) -> None:
    """Make the directory unless it is there, and give it to its user, with its files. Raises OSError."""
    made = _make(directory)
    with _opened(directory) as fd:
        is_roots = os.fstat(fd).st_uid == os.geteuid()
        if is_roots and not made and directory.shared and directory.user is not None and directory.user.uid != 0:
            _check_content(directory, fd, starting=starting)
        givers = directory.owners if is_roots else directory.givers
        # in this order, as root may lack the capability to change what is not its own
        os.fchmod(fd, directory.mode)
        if directory.user is not None:
            os.fchown(fd, directory.user.uid, directory.user.gid)
            for name in os.listdir(fd):  # noqa: PTH208 - a descriptor
                if not directory.shared or _is_ours(name):
                    _give(name, fd, directory.user, givers)


@contextmanager
def _opened(directory: _Directory) -> Iterator[int]:
    """Open one of the directories. Raises OSError, UntrustedError if another user has it, or chose what it is.

    A process of the node that others have taken over may put anything into what its user owns, such as a link to /etc
    in place of a directory. So where a directory of root's leads is root's choice; what is within another one is
    opened there, and is no link.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if directory.within is not None:
        with _opened(directory.within) as above:
            fd = os.open(directory.path.name, flags | os.O_NOFOLLOW, dir_fd=above)
    elif os.geteuid() == 0:
        fd = os.open(_without_links(directory.path), flags | os.O_NOFOLLOW)
    else:
        fd = os.open(directory.path, flags)
    try:
        uid = os.fstat(fd).st_uid
        if uid not in directory.owners:
            raise UntrustedError(directory.path, f"owned by user {describe_user(uid)}")
        yield fd
    finally:
        os.close(fd)


def _without_links(path: Path) -> Path:
    """Return the path without links at its end. Raises UntrustedError if others than root choose where it leads."""
    if not is_roots_alone(path.parent):
        raise UntrustedError(path, "not only root decides where it is")
    if not path.is_symlink():
        return path
    if path.lstat().st_uid != 0:
        raise UntrustedError(path, f"a link of user {describe_user(path.lstat().st_uid)}")
    return _without_links(path.parent / path.readlink())


def _give(name: str, within: int, user: User, givers: Collection[int]) -> None:
    """Give a file of one of `givers` in an open directory to a user; whatever else there is stays. Raises OSError."""
    with suppress(UntrustedError, IsADirectoryError, FileNotFoundError):
        fd = open_file(Path(name), os.O_RDONLY, within)  # a link, or another name of a file, would be theirs then
        try:
            if os.fstat(fd).st_uid in givers:
                os.fchown(fd, user.uid, user.gid)
        finally:
            os.close(fd)
