"""State files: small dictionaries on disk, which a node keeps across restarts.

SQLite in write-ahead mode: a change is a transaction, costs what it changes,
and survives a kill at any moment. Every row carries a checksum; a file that is
damaged or not ours is moved aside, reported, and replaced by a new one, as a
node can always go on without its state.
"""

import fcntl
import logging
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["Store", "checksum", "is_below"]

log = logging.getLogger(__name__)

_APPLICATION_ID = 0x436C5366  # "ClSf", as `file` shows it
_VERSION = 1
# what reading and writing may raise; the last one for damaged text
_TROUBLE = (sqlite3.Error, OSError, UnicodeDecodeError)
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS entries (
        section TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL,
        PRIMARY KEY (section, key)
    ) WITHOUT ROWID
"""


class Store:
    """A dictionary of bytes on disk, in named sections.

    Errors of the disk are logged, and what could not be written is retried
    with the next change. `path` None: nothing is kept on disk. `read_only`:
    changes are discarded; another process may write the file.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._unwritten: dict[tuple[str, bytes], bytes | None] = {}
        self._db = self._open(path) if path is not None else None

    def get(self, section: str, key: bytes) -> bytes | None:
        """Return the value of `key`, None if it is missing or damaged."""
        if (section, key) in self._unwritten:
            return self._unwritten[section, key]
        rows = self._select("SELECT key, value, checksum FROM entries WHERE section = ? AND key = ?", section, key)
        return next((value for _, value in self._intact(rows)), None)

    def items(self, section: str, *, below: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield every key and value of a section, or only of the path `below` and what is under it.

        Damaged entries are reported and skipped.
        """
        query = "SELECT key, value, checksum FROM entries WHERE section = ?"
        arguments: list[object] = [section]
        if below:
            query += " AND (key = ? OR key > ? AND key < ?)"
            arguments += [below, below + b"/", below + b"0"]
        for key, value in self._intact(self._select(query, *arguments)):
            if (section, key) not in self._unwritten:
                yield key, value
        for (at, key), unwritten in list(self._unwritten.items()):
            if at == section and unwritten is not None and is_below(key, below):
                yield key, unwritten

    def update(self, section: str, changes: Mapping[bytes, bytes | None]) -> None:
        """Set each key to its value, or with None remove it, all in one transaction."""
        if self._db is None or self._read_only or not (changes or self._unwritten):
            return
        self._unwritten.update(((section, key), value) for key, value in changes.items())
        try:
            with self._db:
                self._db.executemany(
                    "DELETE FROM entries WHERE section = ? AND key = ?",
                    (place for place, value in self._unwritten.items() if value is None),
                )
                self._db.executemany(
                    "REPLACE INTO entries VALUES (?, ?, ?, ?)",
                    ((*place, v, checksum(place[1], v)) for place, v in self._unwritten.items() if v is not None),
                )
        except _TROUBLE as error:
            log.error("state: %s: cannot be written, retrying with the next change: %s", self._path, error)
        else:
            self._unwritten.clear()

    def drop(self, prefix: str, *, but: str) -> None:
        """Delete the sections whose names begin with `prefix`, except those that begin with `but`."""
        if self._db is None or self._read_only:
            return
        try:
            with self._db:
                self._db.execute(
                    "DELETE FROM entries WHERE substr(section, 1, ?) = ? AND substr(section, 1, ?) != ?",
                    (len(prefix), prefix, len(but), but),
                )
        except _TROUBLE as error:
            log.error("state: %s: cannot be written: %s", self._path, error)

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()

    def _open(self, path: Path) -> sqlite3.Connection | None:
        try:
            if self._read_only:
                return _connect(path, read_only=True) if path.exists() else None
            with _locked(path.parent):
                return _open_or_replace(path)
        except _TROUBLE as error:
            log.error("state: %s: unusable: %s", path, error)
            log.error("state: %s: continuing without it: nothing is kept across restarts", path)
            return None

    def _select(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        if self._db is None:
            return []
        try:
            return self._db.execute(query, arguments).fetchall()
        except _TROUBLE as error:
            log.error("state: %s: cannot be read: %s", self._path, error)
            return []

    def _intact(self, rows: list[tuple[Any, ...]]) -> Iterator[tuple[bytes, bytes]]:
        for key, value, recorded in rows:
            whole = isinstance(key, bytes) and isinstance(value, bytes)
            if whole and checksum(key, value) == recorded:
                yield key, value
            else:
                log.error("state: %s: entry %r: damaged (skipped)", self._path, key)


def checksum(key: bytes, value: bytes) -> int:
    """Return the checksum that is stored with an entry (CRC-32)."""
    return zlib.crc32(value, zlib.crc32(key))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Have other processes wait that open a state file in `directory`. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _open_or_replace(path: Path) -> sqlite3.Connection:
    """Open the file, or replace one that is damaged or not ours by a new one. Raises sqlite3.Error or OSError."""
    try:
        return _connect(path, read_only=False)
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        aside = path.with_name(path.name + ".damaged")
        log.error("state: %s: unusable: %s; moved aside as %s", path, error, aside)
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _connect(path, read_only=False)


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open or create the file. Raises sqlite3.DatabaseError if it is damaged or not ours."""
    url = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc'}"
    db = sqlite3.connect(url, uri=True, timeout=10, isolation_level="IMMEDIATE", check_same_thread=False)
    try:
        if not read_only:
            db.execute("PRAGMA journal_mode = WAL")
            # survives a crash of ours; a loss of power may lose the last changes
            db.execute("PRAGMA synchronous = NORMAL")
        with db:
            db.execute("BEGIN" if read_only else "BEGIN IMMEDIATE")
            _check(db)
            if not read_only:
                _set_up(db)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and (application, version) != (_APPLICATION_ID, _VERSION):
        raise sqlite3.DatabaseError("not a state file of this version of clusterf")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict.splitlines()[-1])


def _set_up(db: sqlite3.Connection) -> None:
    db.execute(_SCHEMA)
    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {_VERSION}")


def is_below(path: bytes, root: bytes) -> bool:
    """Tell whether `path` is `root` or below it."""
    return not root or path == root or path.startswith(root + b"/")
