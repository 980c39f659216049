"""The state directory and the runtime directory of a node, with what its processes' users have in them.

The state directory is that of the node's user, who alone has what is in it but for the directory `probe`: that is
the health processes'. The runtime directory is the supervisor's, with a directory for each of the two users.
Nobody else could make them anew if they are removed while the node runs.
"""

import logging
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from actors.settings import HEALTH, INCOMPLETE, PROBE, PROBE_INCOMPLETE
from clusterf.host.users import User, Users
from clusterf.lib.files.regular import open_file
from clusterf.lib.files.trusted import UntrustedError, describe_user, is_roots_alone, make_directory
from clusterf.lib.log_once import LogOnce
from clusterf.lib.state_mark import void_name
from clusterf.lib.text import printable

__all__ = ["NodeDirectories", "foreign_in"]

log = logging.getLogger(__name__)

# the files of this version and of earlier ones, with what is beside them: root gives no other away
_ASIDE = r"(?:\.draft|\.damaged)?"
_BESIDE = rf"(?:-wal|-shm|-journal|(?:\.[0-9a-f]{{1,8}})?\.complete)?{_ASIDE}"
_VERDICTS = re.compile(rf"({HEALTH}[0-9]{{0,3}}\.db){_BESIDE}")
_RECORDS = re.compile(rf"{_VERDICTS.pattern}|(?:config|ipvs|docker)\.db{_BESIDE}|(?:docker\.lease|lock){_ASIDE}")
_NOTES = re.compile(r"incomplete-[0-9a-f]+-[-.\w]+")
# what may lie in a state directory: also damaged files that were moved aside, copies of files, directories of ours
_OURS = re.compile(
    rf"\.?(?:(?:config|ipvs|docker|{HEALTH}[0-9]*)\.(?:db|lease)|lock\b).*|{PROBE}|lost\+found", re.DOTALL
)
# whoever fills a directory delays no start
_MOST_LOOKED_AT = 100_000
_MOST_GIVEN = 2000


class _Directory(NamedTuple):
    """A directory, who is to have it and the files in it, and its mode."""

    path: Path
    user: User | None  # None: root, or who started the node
    mode: int
    names: re.Pattern[str] | None = None  # of the files that it is for; None: of none that are given
    within: "_Directory | None" = None
    former: frozenset[int] = frozenset()

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
        self._state = _Directory(state, node, entered, _RECORDS, former=former_node)
        self._probe = _Directory(state / PROBE, probe, 0o700, _VERDICTS, self._state, former_probe)
        self._runtime = _Directory(runtime, None, 0o711)
        self._incomplete = _Directory(runtime / INCOMPLETE, node, 0o700, _NOTES, self._runtime, former_node)
        self._probe_incomplete = _Directory(
            *(runtime / PROBE_INCOMPLETE, probe, 0o700, _NOTES, self._runtime, former_probe)
        )
        self._complaints = LogOnce(log, logging.WARNING)

    def prepare(self, *, starting: bool = True) -> None:
        """Make what is missing, and give each user what is theirs; what cannot be done is logged.

        `starting`: none of the users has a process yet.
        """
        with suppress(OSError):  # which is told below
            make_directory(self._state.path)
        # then nobody else can have put anything there; so what is in it comes first
        roots_choice = _is_roots(self._state.path)
        for directory in self._directories():
            try:
                _prepare(directory, roots_choice or directory.within is not self._state, starting=starting)
                self._complaints.end(str(directory.path))
            except _LeftAlone as error:
                self._complaints.log(str(directory.path), "directory %s: %s: left alone", directory.path, error.reason)
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
        yield from (self._probe, self._state, self._runtime, self._incomplete, self._probe_incomplete)

    def _adopt(self) -> None:
        """Move what earlier versions had elsewhere: verdicts, and notes of what was not written. Raises OSError."""
        with _opened(self._state) as state, _opened(self._probe) as probe:
            outdated = _make_way(state, probe)
            for name in _names(state, _VERDICTS):
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
    there = _names(now, _VERDICTS)[::-1]  # a file after what is beside it
    both = {name for name in _names(earlier, _VERDICTS) if name in there and _file_of(name) == name}
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
    if not is_file or _is_there(new_name, to):
        return
    os.rename(name, new_name, src_dir_fd=within, dst_dir_fd=to)
    if user is not None:
        _give(new_name, to, user, before.givers)


def foreign_in(path: Path) -> str:
    """Return the name of something in a directory of root's that no node has put there, empty if there is none."""
    try:
        if not _is_roots(path):
            return ""
        with os.scandir(path) as entries:
            names = (entry.name for entry in islice(entries, _MOST_LOOKED_AT))
            return next((name for name in names if not _OURS.fullmatch(name)), "")
    except OSError:
        return ""


class _LeftAlone(UntrustedError):
    """A directory of root's that no node has made, as far as can be told."""


def _is_roots(path: Path) -> bool:
    """Tell whether a directory is there, and root's, or that of who started the node."""
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _is_there(name: str, within: int) -> bool:
    try:
        os.stat(name, dir_fd=within, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _names(within: int, pattern: re.Pattern[str]) -> list[str]:
    """Return, in order, the names in an open directory that match. Raises OSError."""
    with os.scandir(within) as entries:
        found = (entry.name for entry in islice(entries, _MOST_LOOKED_AT) if pattern.fullmatch(entry.name))
        return sorted(islice(found, _MOST_GIVEN))


def _prepare(directory: _Directory, roots_choice: bool, *, starting: bool) -> None:
    """Make the directory unless it is there, and give it to its user, with its files. Raises OSError.

    Unless it was root's choice what is there, it may be root's only if it has just been made or, at the start, is
    as a node left it whose processes were root's.
    """
    made = False
    if directory.within is None:
        make_directory(directory.path)
    else:
        made = _make_within(directory, directory.within)
    with _opened(directory) as fd:
        found = os.fstat(fd).st_uid
        if found == os.geteuid() == 0:
            _check_roots(directory, fd, chosen=roots_choice, acceptable=made or starting, made=made)
        givers = directory.owners if found == os.geteuid() else directory.givers
        # in this order, as root may lack the capability to change what is not its own
        os.fchmod(fd, directory.mode)
        if directory.user is not None:
            os.fchown(fd, directory.user.uid, directory.user.gid)
            for name in _names(fd, directory.names) if directory.names is not None else ():
                _give(name, fd, directory.user, givers)


def _check_roots(directory: _Directory, fd: int, *, chosen: bool, acceptable: bool, made: bool) -> None:
    """Raise UntrustedError if an open directory of root's holds what no node has put there, or may be any other's."""
    if directory.within is None:
        if directory.names is not None and (name := foreign_in(directory.path)):
            raise _LeftAlone(directory.path, f"of root, and holds {printable(name)}, which is not the node's")
    elif directory.user is not None and directory.user.uid != 0 and not chosen:
        with os.scandir(fd) as entries:
            names = [entry.name for entry in islice(entries, _MOST_GIVEN)]
        ours = directory.names is not None and all(map(directory.names.fullmatch, names))
        # a user may have moved another directory of root's there
        if not (acceptable and ours) or (made and names):
            raise _LeftAlone(directory.path, "of root, in a directory of another user")


def _make_within(directory: _Directory, within: _Directory) -> bool:
    """Make a directory in another one, and tell whether it was missing. Raises OSError."""
    # not by its path, as the directory above may be a user's, who can have it lead anywhere
    with _opened(within) as above, suppress(FileExistsError):
        os.mkdir(directory.path.name, 0o700, dir_fd=above)
        return True
    return False


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
