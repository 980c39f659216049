"""The state directory and the runtime directory of a node, with what its processes' users have in them.

The state directory is that of the node's user, who alone has what is in it but for the directory `probe`: that is
the health processes'. The runtime directory is the supervisor's, with a directory for each of the two users.
Nobody else could make them anew if they are removed while the node runs.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from actors.settings import HEALTH, INCOMPLETE, PROBE, PROBE_INCOMPLETE
from clusterf.host.users import User, Users
from clusterf.lib.files.regular import open_file
from clusterf.lib.files.trusted import UntrustedError, make_directory
from clusterf.lib.state_mark import void_name

__all__ = ["NodeDirectories"]

log = logging.getLogger(__name__)

_VERDICTS = re.compile(rf"{HEALTH}[0-9]*\.db[-.\w]*")  # with what is beside it


class _Directory(NamedTuple):
    """A directory, who is to have it and the files in it, and its mode."""

    path: Path
    user: User | None  # None: root, or who started the node
    mode: int

    def is_right(self) -> bool:
        """Tell whether it is there, and that user's."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return self.user is None or found.st_uid == self.user.uid


class NodeDirectories:
    """Keeps the directories there; `users` None: all processes are who started the node."""

    def __init__(self, state: Path, runtime: Path, users: Users | None) -> None:
        node, probe = users or (None, None)
        entered = 0o711 if users is not None else 0o700
        self._state = _Directory(state, node, entered)
        self._probe = _Directory(state / PROBE, probe, 0o700)
        self._runtime = _Directory(runtime, None, 0o711)
        self._incomplete = _Directory(runtime / INCOMPLETE, node, 0o700)
        self._probe_incomplete = _Directory(runtime / PROBE_INCOMPLETE, probe, 0o700)

    def prepare(self) -> None:
        """Make what is missing, and give each user what is theirs; what cannot be done is logged."""
        for directory in self._directories():
            try:
                _prepare(directory)
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
            self.prepare()

    def clear(self) -> None:
        """Remove what is empty of the runtime directory, as the node ends."""
        for directory in (self._incomplete, self._probe_incomplete):
            with suppress(OSError):  # what was not written is still to be noted
                directory.path.rmdir()

    def _directories(self) -> Iterator[_Directory]:
        yield from (self._state, self._probe, self._runtime, self._incomplete, self._probe_incomplete)

    def _adopt(self) -> None:
        """Move what earlier versions had elsewhere: verdicts, and notes of what was not written. Raises OSError."""
        if self._probe.path.is_dir():
            for file in sorted(self._state.path.iterdir()):
                if _VERDICTS.fullmatch(file.name):
                    moved = self._probe.path / file.name
                    note = self._runtime.path / void_name(file)
                    _move(note, self._probe_incomplete.path / void_name(moved), self._probe_incomplete.user)
                    _move(file, moved, self._probe.user)
        for note in sorted(self._runtime.path.glob("incomplete-*-*")):
            _move(note, self._incomplete.path / note.name, self._incomplete.user)


def _move(file: Path, to: Path, user: User | None) -> None:
    """Move a file of ours, if there is one and none at the new place. Raises OSError."""
    if not file.is_file() or to.exists():
        return
    file.rename(to)
    if user is not None:
        _give(to, user)


def _prepare(directory: _Directory) -> None:
    """Make the directory unless it is there, and give it to its user, with its files. Raises OSError."""
    make_directory(directory.path)
    fd = os.open(directory.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # in this order, as root may lack the capability to change what is not its own
        os.fchmod(fd, directory.mode)
        if directory.user is not None:
            os.fchown(fd, directory.user.uid, directory.user.gid)
    finally:
        os.close(fd)
    if directory.user is not None:
        for file in directory.path.iterdir():
            _give(file, directory.user)


def _give(file: Path, user: User) -> None:
    """Give a file of ours to a user, whatever else there is stays. Raises OSError."""
    with suppress(UntrustedError, IsADirectoryError, FileNotFoundError):
        fd = open_file(file, os.O_RDONLY)  # a link, or another name of somebody's file, would be theirs then
        try:
            os.fchown(fd, user.uid, user.gid)
        finally:
            os.close(fd)
