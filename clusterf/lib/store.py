"""State files: small dictionaries on disk, which a node keeps across restarts.

Every row carries a checksum; a file that is damaged or not ours is moved aside,
reported, and replaced by a new one, as a node can always go on without its state.

What cannot be written is kept in memory, and `keep` writes it as soon as the disk allows.
Until then the file is out of date, and shows that: its mark (`clusterf.lib.state_mark`)
is missing. What is found in such a file at the next start may no longer be true.
"""

import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from clusterf.lib.log_once import LogOnce
from clusterf.lib.state_file import TROUBLE, StateFile, open_file, open_read_only, trouble_text
from clusterf.lib.state_mark import StateMark

__all__ = ["KEEP_INTERVAL", "Store", "checksum", "is_below"]

log = logging.getLogger(__name__)

KEEP_INTERVAL: Final = 5.0  # seconds between two calls of `Store.keep`
_MARKS = "store"  # the section that says which marks belong to the file
_LEFT = "left: "  # before the name of a mark: the store was written elsewhere since


class Store:
    """A dictionary of bytes on disk, in named sections; any thread may use it.

    `path` None: nothing is kept on disk. `read_only`: changes are discarded;
    another process may write the file. `sections`: those that are used, as
    other stores have the others; a `guest` in another one's file neither judges nor marks it.

    A file that may be out of date is taken as empty, and a loss of power may empty it:
    so no write waits for a slow disk. With `keep_stale` it is read, and `stale` until
    `renew`. That a disk is read-only is noted in the directory `elsewhere`.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        read_only: bool = False,
        sections: tuple[str, ...] = (),
        guest: bool = False,
        keep_stale: bool = False,
        elsewhere: Path | None = None,
    ) -> None:
        self._path = path
        self._read_only = read_only
        self._sections = sections
        self._keep_stale = keep_stale
        self._mark = (
            StateMark(path, sections[0] if sections else None, elsewhere) if path is not None and not guest else None
        )
        self._lock = threading.RLock()
        self._complaints = LogOnce(log, logging.ERROR)
        self._unwritten: dict[tuple[str, bytes], bytes | None] = {}
        self._file: StateFile | None = None
        # whether what is on disk is not to be believed, and removed by the next write
        self._void = False
        # whether what is on disk is to be believed, but may be out of date
        self.stale = False
        if path is not None:
            self._begin(path)

    def get(self, section: str, key: bytes) -> bytes | None:
        """Return the value of `key`, None if it is missing or damaged."""
        with self._lock:
            if (section, key) in self._unwritten:
                return self._unwritten[section, key]
            rows = self._select("section = ? AND key = ?", section, key)
            return next((value for _, _, value in self._intact(rows)), None)

    def items(self, section: str, *, below: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield every key and value of a section, or only of the path `below` and what is under it.

        Damaged entries are reported and skipped.
        """
        where = "section = ?"
        arguments: list[object] = [section]
        if below:
            where += " AND (key = ? OR key > ? AND key < ?)"
            arguments += [below, below + b"/", below + b"0"]
        with self._lock:
            rows = self._select(where, *arguments)
            unwritten = {key: value for (at, key), value in self._unwritten.items() if at == section}
        for _, key, value in self._intact(rows):
            if key not in unwritten:
                yield key, value
        for key, new in unwritten.items():
            if new is not None and is_below(key, below):
                yield key, new

    def update(self, section: str, changes: Mapping[bytes, bytes | None]) -> bool:
        """Set each key to its value, or with None remove it, in one transaction; return whether all is on disk."""
        with self._lock:
            if self._path is None or self._read_only:
                return True
            self._unwritten.update(((section, key), value) for key, value in changes.items())
            return self._write()

    def drop(self, prefix: str, *, but: str) -> None:
        """Delete the sections whose names begin with `prefix`, except those that begin with `but`, if that can be."""
        with self._lock:
            if self._file is None or not self._file.writable:
                return
            try:
                with self._file.db as db:
                    db.execute(
                        "DELETE FROM entries WHERE substr(section, 1, ?) = ? AND substr(section, 1, ?) != ?",
                        (len(prefix), prefix, len(but), but),
                    )
            except TROUBLE as error:
                log.error("state: %s: earlier entries cannot be removed: %s", self._path, trouble_text(error))

    def keep(self) -> None:
        """Write what could not be written, and all of it if the file is gone. To be called every KEEP_INTERVAL."""
        with self._lock:
            if self._path is None or self._read_only:
                return
            # (one that fails may be damaged)
            if self._file is None or "disk" in self._complaints or not self._file.is_at(self._path):
                self._reopen(self._path)
            elif self._mark is not None:
                self._mark.look(self._file.inode)
            self._write()

    def renew(self) -> None:
        """Note that all was updated by now, so that nothing of it is out of date."""
        with self._lock:
            if self.stale:
                self.stale = False
                self._write()

    def close(self) -> None:
        """Write what could not be written, if that can be, and close the file."""
        with self._lock:
            self.keep()
            self._read_only = True  # for a thread that comes late
            if self._file is not None:
                self._file.db.close()

    def _begin(self, path: Path) -> None:
        try:
            self._file = open_read_only(path) if self._read_only else open_file(path, durable=self._keep_stale)
        except TROUBLE as error:
            if self._read_only:
                log.error("state: %s: unusable: %s: continuing without it", path, trouble_text(error))
                return
            self._fail(error)
            self._file = _read_anyway(path)
        if self._file is None:
            self._void = True  # whatever is found there later
            return
        if self._is_stale(self._file):
            self.stale, self._void = self._keep_stale, not self._keep_stale
            if self._void:
                log.warning("state: %s: may be out of date (ignored)", path)
        self._write()

    def _is_stale(self, file: StateFile) -> bool:
        """Tell whether something may not have been written to the file that was found."""
        if self._mark is None or not self._select(f"{self._used} LIMIT 1", *self._sections):
            return False
        if not self._mark.look(file.inode) and self._select(
            "section = ? AND key = ?", _MARKS, self._mark.name.encode()
        ):
            return True  # (a file of an earlier version has no mark)
        left = self._select("section = ? AND key = ?", _MARKS, os.fsencode(f"{_LEFT}{self._mark.name}"))
        return bool(left) or self._mark.is_void or not (file.writable or self._read_only)

    def _reopen(self, path: Path) -> None:
        """Open the file at `path`, and have all written to it if it is another one than before."""
        before = self._file
        try:
            file = open_file(path, before, durable=self._keep_stale)
        except TROUBLE as error:
            self._fail(error)
            return
        if before is not None and before.inode != file.inode:
            log.warning("state: %s: was removed or replaced: writing all of it again", path)
            rows = self._select(self._used, *self._sections)
            self._unwritten = {**{(at, key): value for at, key, value in self._intact(rows)}, **self._unwritten}
            self._void = True
            if self._mark is not None:
                self._leave(before, self._mark)
                self._mark.is_set = False
        self._file = file
        if before is not None:
            before.db.close()

    def _leave(self, before: StateFile, mark: StateMark) -> None:
        """Note in the file that was open that it is out of date from now on, in case it is put back."""
        try:
            with before.db as db:
                db.execute("REPLACE INTO entries VALUES (?, ?, ?, ?)", _note(f"{_LEFT}{mark.name}"))
        except TROUBLE as error:
            log.debug("state: %s: the file that was removed cannot be marked: %s", self._path, trouble_text(error))

    def _write(self) -> bool:
        """Write what is unwritten, then the mark; return whether all is on disk."""
        file, mark = self._file, self._mark
        if file is None or not file.writable:
            return self._read_only
        if not (self._unwritten or self._void) and (mark is None or mark.is_set or self.stale):
            return True
        try:
            with file.db as db:
                self._write_rows(db)
            self._unwritten.clear()
            self._void = False
            if mark is not None and not self.stale and not mark.is_set:
                mark.set(file.inode)
        except TROUBLE as error:
            self._fail(error)
            return False
        self._complaints.end("disk", "state: %s: written again, nothing is missing", self._path)
        return True

    def _write_rows(self, db: sqlite3.Connection) -> None:
        if self._void:
            db.execute(f"DELETE FROM entries WHERE {self._used}", self._sections)  # noqa: S608
        if self._mark is not None:
            db.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", _note(self._mark.name))
            if not self.stale:
                left = os.fsencode(f"{_LEFT}{self._mark.name}")
                db.execute("DELETE FROM entries WHERE section = ? AND key = ?", (_MARKS, left))
        db.executemany(
            "DELETE FROM entries WHERE section = ? AND key = ?",
            (place for place, value in self._unwritten.items() if value is None),
        )
        db.executemany(
            "REPLACE INTO entries VALUES (?, ?, ?, ?)",
            ((*place, v, checksum(place[1], v)) for place, v in self._unwritten.items() if v is not None),
        )

    def _fail(self, error: Exception) -> None:
        """Report that the file cannot be written, and remove its mark."""
        if self._complaints.is_new("disk", complaint=True):
            what = "state: %s: cannot be written, retrying every %g seconds: %s"
            log.error(what, self._path, KEEP_INTERVAL, trouble_text(error))
        try:
            if self._mark is not None:
                self._mark.remove()
        except OSError as trouble:
            self._complaints.log("mark", "state: %s: cannot be marked as out of date: %s", self._path, trouble)

    def _select(self, where: str, *arguments: object) -> list[tuple[Any, ...]]:
        if self._file is None or self._void:
            return []
        try:
            query = f"SELECT section, key, value, checksum FROM entries WHERE {where}"  # noqa: S608
            return self._file.db.execute(query, arguments).fetchall()
        except TROUBLE as error:
            log.error("state: %s: cannot be read: %s", self._path, trouble_text(error))
            return []

    @property
    def _used(self) -> str:
        """The condition for the entries that this store uses, with `_sections` as arguments."""
        return f"section IN ({', '.join('?' * len(self._sections))})" if self._sections else f"section != '{_MARKS}'"

    def _intact(self, rows: list[tuple[Any, ...]]) -> Iterator[tuple[str, bytes, bytes]]:
        for section, key, value, recorded in rows:
            whole = isinstance(key, bytes) and isinstance(value, bytes)
            if whole and checksum(key, value) == recorded:
                yield section, key, value
            else:
                log.error("state: %s: entry %r: damaged (skipped)", self._path, key)


def _note(name: str) -> tuple[str, bytes, bytes, int]:
    """Return the entry that notes a name in `_MARKS`."""
    key = os.fsencode(name)
    return _MARKS, key, b"", checksum(key, b"")


def checksum(key: bytes, value: bytes) -> int:
    """Return the checksum that is stored with an entry (CRC-32)."""
    return zlib.crc32(value, zlib.crc32(key))


def is_below(path: bytes, root: bytes) -> bool:
    """Tell whether `path` is `root` or below it."""
    return not root or path == root or path.startswith(root + b"/")


def _read_anyway(path: Path) -> StateFile | None:
    """Open a file that cannot be written, if it can be read."""
    try:
        return open_read_only(path)
    except TROUBLE as error:
        log.debug("state: %s: cannot be read either: %s", path, trouble_text(error))
        return None
