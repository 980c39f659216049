"""The disk of a simulated node: real SQLite files in memory, which fail as a full or read-only disk does."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

from clusterf.lib.store import KEEP_INTERVAL
from tests.sim.process import present

__all__ = ["FULL", "READ_ONLY", "Disk", "FaultySqlite"]


FULL, READ_ONLY = "database or disk is full", "attempt to write a readonly database"


class Disk:
    """The state directory of one node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True)
        folder.with_name(f"run of {folder.name}").mkdir()
        # why nothing can be written, and when that was written last that could not be before
        self.fault: str | None = None
        self._caught_up_at = 0.0

    def mend(self, now: float) -> None:
        """End the fault; what could not be written is within a few seconds."""
        if self.fault is not None:
            self.fault, self._caught_up_at = None, now + KEEP_INTERVAL + 1.0

    def is_behind(self, now: float) -> bool:
        """Tell whether a process that ends now may leave records that are out of date."""
        return self.fault is not None or now < self._caught_up_at

    def lose(self, now: float) -> None:
        """Remove the directory with all in it, and create an empty one; soon all is written to it again."""
        self._caught_up_at = now + KEEP_INTERVAL + 1.0
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written for a reason that is there when a file is opened."""
        return self.fault == READ_ONLY

    def check(self, sql: str) -> None:
        """Raise what SQLite raises if a statement cannot be run; a full disk shows only when something is written."""
        if self.fault is not None and (self.is_read_only or not sql.startswith("BEGIN")):
            raise sqlite3.OperationalError(self.fault)


class _Connection(sqlite3.Connection):
    """A connection whose changes fail while the disk of its process does."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        self._check(sql)
        return super().execute(sql, *arguments)

    def executemany(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        self._check(sql)
        return super().executemany(sql, *arguments)

    def _check(self, sql: str) -> None:
        if sql.lstrip().startswith(("DELETE", "REPLACE", "INSERT", "UPDATE", "CREATE", "BEGIN IMMEDIATE")):
            present().node.disk.check(sql)


class FaultySqlite:
    """The module `sqlite3`, as the code under test sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)

    @staticmethod
    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        """Connect as `sqlite3.connect` does; a process that ends leaves no lock behind for which others wait."""
        connection = sqlite3.connect(*arguments, factory=_Connection, **options | {"check_same_thread": False})
        present().on_death.append(connection.close)
        return connection
