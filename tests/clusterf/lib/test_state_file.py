import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from clusterf.lib import state_file
from clusterf.lib.state_file import open_file, open_read_only
from clusterf.lib.text import printable
from tests.clusterf.support.hostile_etcd import HOSTILE


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "state.db"


def test_file_is_created_with_its_directory_for_the_owner_only(path):
    file = open_file(path)
    assert file.writable
    assert file.is_at(path)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_missing_file_is_not_created_to_be_read(path):
    assert open_read_only(path) is None
    assert not path.parent.exists()


def test_file_is_recognised_under_another_name_and_not_by_its_old_one(path):
    file = open_file(path)
    path.parent.rename(path.parent.with_name("renamed"))
    assert not file.is_at(path)
    assert file.is_at(path.parent.with_name("renamed") / "state.db")


def test_file_whose_log_is_gone_is_not_the_one_at_its_path(path):
    file = open_file(path)
    assert file.is_at(path)
    path.with_name("state.db-wal").unlink()
    assert not file.is_at(path)


def test_what_is_left_of_the_old_file_is_no_part_of_the_new_one(path):
    old = open_file(path)
    with old.db as db:
        db.execute("INSERT INTO entries VALUES ('s', x'00', x'00', 0)")
    path.unlink()
    new = open_file(path, old)
    assert new.db.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    assert old.db.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    old.db.close()
    with new.db as db:
        db.execute("INSERT INTO entries VALUES ('s', x'01', x'00', 0)")
    assert new.is_at(path), "the end of the old one removes nothing of it"


def test_old_file_without_its_log_is_given_up(path):
    old = open_file(path)
    path.with_name("state.db-wal").unlink()
    new = open_file(path, old)
    assert new.inode != old.inode
    assert new.is_at(path)


def test_file_of_a_disk_that_takes_nothing_is_opened_without_writing(path):
    open_file(path).db.close()
    before = path.read_bytes()
    file = open_file(path)
    assert file.db.execute("PRAGMA wal_checkpoint").fetchone() == (0, 0, 0), "nothing was written"
    assert path.read_bytes() == before


def test_file_that_is_open_to_be_read_cannot_be_written(path):
    open_file(path).db.close()
    file = open_read_only(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        file.db.execute("DELETE FROM entries")


@pytest.mark.process
def test_file_is_copied_to_be_read_if_there_is_no_space_for_what_sqlite_needs_beside_it(path, monkeypatch):
    script = f"""
import os, pathlib
from clusterf.lib.state_file import open_file
file = open_file(pathlib.Path({str(path)!r}))
with file.db as db:
    db.execute("INSERT INTO entries VALUES ('s', x'01', x'02', 0)")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert path.with_name("state.db-wal").stat().st_size, "the last change is in the log only"
    connect = state_file._connect

    def without_space(path, mode):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(state_file, "_connect", without_space)
    file = open_read_only(path)
    assert not file.writable
    assert file.is_at(path)
    monkeypatch.setattr(state_file, "_connect", connect)
    for db in (file.db, open_file(path, file).db):
        with closing(db):
            assert db.execute("SELECT key FROM entries").fetchall() == [(b"\x01",)]


def test_copy_of_a_file_that_is_not_ours_is_not_used(path, monkeypatch):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE others (x)")

    def without_space(path, mode):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(state_file, "_connect", without_space)
    with pytest.raises(sqlite3.DatabaseError, match="not a state file"):
        open_read_only(path)


def test_what_sqlite_quotes_of_a_damaged_file_is_printable(path, caplog):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f'CREATE TABLE "t{HOSTILE}" (x)')
        db.execute("PRAGMA writable_schema = on")
        db.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE nonsense'")
        db.commit()
    open_file(path)
    (message,) = caplog.messages
    assert r"\x0aipvs noop: touch" in message
    assert printable(message) == message


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE VIEW entries AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i AS section FROM n",
        "CREATE TABLE entries (section TEXT, key BLOB, value BLOB, checksum INTEGER)",
        f"{state_file._SCHEMA}; CREATE TRIGGER t AFTER INSERT ON entries BEGIN SELECT 1; END",
        f"{state_file._SCHEMA}; CREATE TABLE other (a)",
    ],
)
def test_file_with_another_schema_is_none_of_ours(path, planted):
    """A view may be a query without an end, as what another program has left there, or left there on purpose."""
    path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(planted)
        db.execute(f"PRAGMA application_id = {state_file._APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {state_file._VERSION}")
    file = open_file(path)
    assert file.db.execute("SELECT * FROM entries").fetchall() == []
    file.db.close()
    assert path.with_name("state.db.damaged").exists()


def test_file_whose_rows_are_out_of_order_is_replaced(path):
    """A search misses some of them, also what is written to it then."""
    with closing(open_file(path).db) as db, db:
        db.executemany("INSERT INTO entries VALUES ('mine', ?, x'', 0)", [(b"%d" % number,) for number in range(9)])
    damaged = path.read_bytes().replace(b"mine4", b"\x02ine4")
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with closing(open_file(path).db) as db:
        assert db.execute("SELECT * FROM entries").fetchall() == []
    assert path.with_name("state.db.damaged").exists()
