"""The mark beside a state file that says: all that was to be written is written.

A mark that says the opposite would have to be written at the very moment when the
disk is full. This one only has to be removed, which takes no space. As even that
fails on a read-only disk, a file in another directory voids the mark. Where it cannot be
told whether that is there, as in a directory that another user left, the mark is void, too.
"""

import logging
import os
import zlib
from contextlib import suppress
from pathlib import Path

from clusterf.lib.files.regular import open_file, read_file, write_file
from clusterf.lib.files.trusted import check_directory, make_directory
from clusterf.lib.log_once import LogOnce
from clusterf.lib.state_file import Inode, trouble_text

__all__ = ["StateMark", "void_name"]

log = logging.getLogger(__name__)


def void_name(path: Path, suffix: str = "") -> str:
    """Return the name of the file that voids the mark of the file at `path`, or that of a part of it."""
    return f"incomplete-{_checksum(str(path.absolute()))}-{path.name}{suffix}"


class StateMark:
    """The mark of the file at `path`, or only of what is `part` of it.

    `elsewhere` is a directory on another disk, such as /run; None: there is none.
    """

    def __init__(self, path: Path, part: str | None, elsewhere: Path | None) -> None:
        suffix = f".{_checksum(part)}" if part is not None else ""
        self.name = f"{path.name}{suffix}.complete"
        self._path = path
        self._mark = path.with_name(self.name)
        self._void = elsewhere / void_name(path, suffix) if elsewhere is not None else None
        # whether there is a mark, as far as this process knows
        self.is_set = False
        self._complaints = LogOnce(log, logging.ERROR)

    @property
    def is_void(self) -> bool:
        """Whether it is noted elsewhere that something was not written, or may be."""
        try:
            return self._is_noted()
        except OSError as error:
            what = "state: %s: cannot tell whether it is complete, taken as out of date: %s"
            self._complaints.log("note", what, self._path, trouble_text(error))
            return True

    def look(self, inode: Inode | None) -> bool:
        """Return whether all was written to the file `inode`; a copy of a marked file is none."""
        try:
            marked = read_file(self._mark).decode()
        except (OSError, ValueError):
            marked = ""
        self.is_set = inode is not None and marked == str(inode.number) and not self.is_void
        return self.is_set

    def set(self, inode: Inode | None) -> None:
        """Note that all is written. Raises OSError."""
        if inode is not None:
            check_directory(self._mark.parent)  # (the file may have been moved since it was opened)
            # without the device, which may have another number after the next boot
            write_file(self._mark, str(inode.number).encode())
        if self._void is not None:
            self._void.unlink(missing_ok=True)
        self._complaints.clear()
        self.is_set = True

    def remove(self) -> None:
        """Note that something is not written. Raises OSError if that cannot be noted."""
        self.is_set = False
        noted = self._note_elsewhere()
        try:
            self._mark.unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass  # there is none
        except OSError:
            if not noted:
                raise

    def _note_elsewhere(self) -> bool:
        if self._void is None:
            return False
        try:
            make_directory(self._void.parent)
            os.close(open_file(self._void, os.O_WRONLY | os.O_CREAT))
        except OSError:
            with suppress(OSError):
                return self._is_noted()  # whatever it is
            return False
        return True

    def _is_noted(self) -> bool:
        """Tell whether something is noted elsewhere. Raises OSError if that cannot be told."""
        if self._void is None:
            return False
        try:
            os.lstat(self._void)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode(errors='surrogateescape')):08x}"
