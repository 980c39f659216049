"""The SQLite file of a `Store`: opened, checked, replaced if it is damaged, and recognised by its inode.

Write-ahead mode: a change is a transaction, costs what it changes, and survives
a kill at any moment. SQLite itself does not notice when the file, or the
log beside it, was removed or renamed, and goes on writing into what no path names.
"""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from clusterf.lib.files.regular import look, move_aside, tighten
from clusterf.lib.files.regular import open_file as open_regular
from clusterf.lib.files.trusted import UntrustedError, check_directory, describe_user, make_directory
from clusterf.lib.text import printable

__all__ = ["TROUBLE", "Inode", "StateFile", "open_file", "open_read_only", "trouble_text"]

log = logging.getLogger(__name__)

_APPLICATION_ID = 0x436C5366  # "ClSf", as `file` shows it
_VERSION = 1
_PATIENCE = 10.0  # seconds to wait for another process that opens or writes a file
TROUBLE: Final = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What reading and writing may raise; the last one for damaged text."""
_LONGEST = 300  # characters of the text of an error
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS entries (
        section TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL,
        PRIMARY KEY (section, key)
    ) WITHOUT ROWID
"""


_SCHEMA_QUERY = "SELECT type, name, sql FROM sqlite_master ORDER BY name"


class Inode(NamedTuple):
    """A file, whatever its name."""

    device: int
    number: int


class StateFile(NamedTuple):
    """An open file. `inode` and `log_inode` are those of the file and of its log, with their devices; None: unknown."""

    db: sqlite3.Connection
    writable: bool
    inode: Inode | None
    log_inode: Inode | None

    def is_at(self, path: Path) -> bool:
        """Tell whether the open file, and its log, are those at `path`."""
        return self.inode == _inode(path) and self.log_inode in {None, _inode(_beside(path, "-wal"))}


def open_file(path: Path, before: StateFile | None = None, *, durable: bool = True) -> StateFile:
    """Open the file to write it; create it if it is missing, with its directory, and replace it if it is damaged.

    `before` is the file that was at `path` before: what is left of it there is removed. One
    that is not `durable` never waits for the disk, and may be lost with the machine's power.
    Raises what is in TROUBLE.
    """
    make_directory(path.parent)
    with _locked(path.parent):
        if before is not None:
            _clear(path, before)
        db = _open_or_replace(path)
        # both survive a crash of ours; a loss of power may lose the last changes, or without durability all
        db.execute(f"PRAGMA synchronous = {'NORMAL' if durable else 'OFF'}")
        return StateFile(db, True, _inode(path), _inode(_beside(path, "-wal")))


def open_read_only(path: Path) -> StateFile | None:
    """Open the file to read it, or a copy of it in memory, None if there is none. Raises what is in TROUBLE."""
    try:
        check_directory(path.parent)
    except (FileNotFoundError, NotADirectoryError):
        return None
    for file in (path, *_companions(path)):
        look(file)
    inode = _inode(path)
    if inode is None:
        return None
    try:
        db = _connect(path, "mode=ro")
    except sqlite3.OperationalError:
        try:
            db = _copy(path)
        except sqlite3.OperationalError:
            if _beside(path, "-wal").exists():
                raise
            # SQLite needs a log, which cannot be made on a read-only disk; without one nobody writes the file
            db = _connect(path, "mode=ro&immutable=1")
    return StateFile(db, False, inode, None)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _companions(path: Path) -> list[Path]:
    """Return the files that SQLite keeps beside one, each of which it opens, and believes."""
    return [_beside(path, suffix) for suffix in ("-wal", "-shm", "-journal")]


def trouble_text(error: Exception) -> str:
    """Return the text of what is in TROUBLE in a printable form: SQLite quotes what is in the file."""
    return printable(str(error), _LONGEST)


def _inode(path: Path) -> Inode | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return Inode(found.st_dev, found.st_ino)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Have other processes wait that open a state file in `directory`. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # whoever may read the directory may hold this lock for ever
        Retrying(
            retry=retry_if_exception_type(BlockingIOError),
            wait=wait_fixed(0.05),
            stop=stop_after_delay(_PATIENCE),
            reraise=True,
        )(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def _clear(path: Path, before: StateFile) -> None:
    """Remove what is left of the file, so that no new connection shares half of it with the old one."""
    log_there = _inode(_beside(path, "-wal"))
    if _inode(path) == before.inode:
        if before.log_inode in {None, log_there}:
            return  # it is all there
        path.unlink(missing_ok=True)
    if _inode(path) is None or log_there == before.log_inode:
        _remove_companions(path)


def _remove_companions(path: Path) -> None:
    for file in _companions(path):
        file.unlink(missing_ok=True)


def _open_or_replace(path: Path) -> sqlite3.Connection:
    """Open the file, or replace one that is damaged or not ours by a new one. Raises sqlite3.Error or OSError."""
    try:
        return _connect_to_ours(path)
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError, UntrustedError) as error:
        reason = error.strerror if isinstance(error, UntrustedError) else trouble_text(error)
        log.error("state: %s: unusable: %s; moved aside as %s", path, reason, move_aside(path))
        _remove_companions(path)
        return _connect_to_ours(path)


def _connect_to_ours(path: Path) -> sqlite3.Connection:
    """Open or create the file for its owner only. Raises UntrustedError, sqlite3.Error or OSError."""
    for file in (path, *_companions(path)):
        tighten(file)
    found = look(path)
    if found is not None and found.st_uid != os.geteuid() != 0:
        # root's, who may have copied it here, and does not give it away
        raise UntrustedError(path, f"owned by user {describe_user(found.st_uid)}")
    if _inode(path) is None:
        # SQLite gives what it makes beside the file the same mode
        os.close(open_regular(path, os.O_WRONLY | os.O_CREAT))
    return _connect(path, "mode=rwc")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open or create the file. Raises sqlite3.DatabaseError if it is damaged or not ours."""
    url = f"file:{quote(str(path))}?{mode}"
    writable = mode == "mode=rwc"
    db = sqlite3.connect(url, uri=True, timeout=_PATIENCE, isolation_level="IMMEDIATE", check_same_thread=False)
    try:
        if writable:
            db.execute("PRAGMA journal_mode = WAL")
        with db:
            db.execute("BEGIN IMMEDIATE" if writable else "BEGIN")
            new = _check(db)
            if writable and new:  # (a full disk can be read, as long as nothing is written)
                _set_up(db)
    except BaseException:
        db.close()
        raise
    return db


def _copy(path: Path) -> sqlite3.Connection:
    """Return a copy in memory of a file that nobody has open, though the disk is full. Raises sqlite3.Error.

    Only with an exclusive lock does SQLite need no space for an index of the log
    (sqlite.org/wal.html, "Use of WAL Without Shared-Memory").
    """
    copy = sqlite3.connect(":memory:", isolation_level="IMMEDIATE", check_same_thread=False)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=_PATIENCE)) as db:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.backup(copy)
        _check(copy)
    except BaseException:
        copy.close()
        raise
    return copy


def _check(db: sqlite3.Connection) -> bool:
    """Return whether the file is empty. Raises sqlite3.DatabaseError if it is damaged or not ours."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    # nothing but our table: a view, for one, may be a query without an end
    schema = db.execute(_SCHEMA_QUERY).fetchall()
    if schema and ((application, version) != (_APPLICATION_ID, _VERSION) or schema != _schema()):
        raise sqlite3.DatabaseError("not a state file of this version of clusterf")
    # (quick_check takes rows out of order, where a search misses some)
    (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict.splitlines()[-1])
    return not schema


@cache
def _schema() -> list[tuple[str, str, str]]:
    """Return what SQLite records of our table."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(_SCHEMA)
        return db.execute(_SCHEMA_QUERY).fetchall()


def _set_up(db: sqlite3.Connection) -> None:
    db.execute(_SCHEMA)
    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {_VERSION}")
