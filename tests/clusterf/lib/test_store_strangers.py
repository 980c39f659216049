"""A store in whose place, or beside which, there is something that is no file of ours."""

import fcntl
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from clusterf.lib import state_file
from clusterf.lib.state_file import open_file
from clusterf.lib.store import Store

STRANGER = 65534

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users"),
    pytest.mark.timeout(10),
]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "state").mkdir(0o700)
    return tmp_path / "state" / "state.db"


@pytest.fixture
def victim(tmp_path):
    """A database of somebody else, which a link leads to."""
    victim = tmp_path / "victim"
    with closing(sqlite3.connect(victim)) as db:
        db.execute("CREATE TABLE precious (x)")
    return victim


def prepare(place, kind, victim):
    match kind:
        case "link":
            place.symlink_to(victim)
        case "dangling":
            place.symlink_to(victim.with_name("new"))
        case "pipe":
            os.mkfifo(place)
        case "of another user":
            place.write_bytes(victim.read_bytes())
            os.chown(place, STRANGER, STRANGER)
        case "hard link":
            place.hardlink_to(victim)


KINDS = pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "of another user", "hard link"])


@KINDS
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("is_new", [True, False])
def test_what_is_no_file_of_ours_is_not_opened(path, victim, kind, suffix, is_new, caplog):
    if not is_new:
        Store(path).close()
    place = path.with_name(f"state.db{suffix}")
    place.unlink(missing_ok=True)
    before = victim.read_bytes()
    prepare(place, kind, victim)
    store = Store(path)
    assert store.update("s", {b"k": b"1"})
    assert f"state: {path}: unusable: {place}: not trusted: " in caplog.text
    store.close()
    assert dict(Store(path, read_only=True).items("s")) == {b"k": b"1"}
    assert victim.read_bytes() == before
    assert not victim.with_name("new").exists()


@KINDS
def test_what_is_no_file_of_ours_is_not_read_either(path, victim, kind, caplog):
    prepare(path, kind, victim)
    assert list(Store(path, read_only=True).items("s")) == []
    assert f"state: {path}: unusable: " in caplog.text
    assert "not trusted" in caplog.text
    assert sorted(one.name for one in path.parent.iterdir()) == ["state.db"]


@KINDS
def test_mark_that_is_no_file_of_ours_is_replaced_and_not_believed(path, victim, kind):
    store = Store(path)
    store.update("s", {b"k": b"1"})
    store.close()
    mark = path.with_name("state.db.complete")
    inode = mark.read_bytes()
    victim = victim.with_name("text")
    victim.write_bytes(inode)
    mark.unlink()
    prepare(mark, kind, victim)
    later = Store(path)
    assert list(later.items("s")) == []
    later.update("s", {b"k": b"2"})
    assert stat.S_ISREG(mark.lstat().st_mode)
    assert mark.stat().st_mode & 0o777 == 0o600
    assert victim.read_bytes() == inode
    assert not victim.with_name("new").exists()


@KINDS
def test_note_elsewhere_is_not_written_through_what_is_there(path, victim, kind, tmp_path):
    run = tmp_path / "run"
    store = Store(path, elsewhere=run)
    store._mark.remove()
    (note,) = run.iterdir()
    note.unlink()
    before = victim.read_bytes()
    prepare(note, kind, victim)
    store._mark.remove()
    assert store._mark.is_void
    assert victim.read_bytes() == before
    assert not victim.with_name("new").exists()


def test_directory_that_came_to_be_anothers_while_the_node_runs_is_not_used(path, tmp_path, caplog):
    store = Store(path)
    path.parent.rename(tmp_path / "away")
    path.parent.mkdir()
    os.chown(path.parent, STRANGER, STRANGER)
    store.keep()
    assert not store.update("s", {b"k": b"1"})
    assert f"cannot be written, retrying every 5 seconds: [Errno 13] {path.parent}: not trusted" in caplog.text
    assert list(path.parent.iterdir()) == []
    path.parent.rmdir()
    (tmp_path / "away").rename(path.parent)
    store.keep()
    assert dict(Store(path, read_only=True).items("s")) == {b"k": b"1"}


def modes(path):
    return {one.name: oct(one.stat().st_mode & 0o777) for one in path.parent.iterdir()}


def test_all_files_are_for_their_owner_only_whatever_the_umask(path):
    before = os.umask(0)
    try:
        store = Store(path)
        store.update("s", {b"k": b"1"})
    finally:
        os.umask(before)
    assert modes(path) == dict.fromkeys(["state.db", "state.db-wal", "state.db-shm", "state.db.complete"], "0o600")


def test_files_of_an_earlier_version_are_taken_from_all_others_with_what_is_in_them(path):
    first = open_file(path)
    with first.db as db:
        db.execute("INSERT INTO entries VALUES ('s', x'01', x'02', 0)")
    for file in path.parent.iterdir():
        file.chmod(0o644)
    with closing(open_file(path).db) as db:
        assert set(modes(path).values()) == {"0o600"}
        assert db.execute("SELECT key FROM entries").fetchall() == [(b"\x01",)]
    first.db.close()


def test_directory_that_somebody_keeps_locked_is_waited_for_and_not_for_ever(path, monkeypatch, caplog):
    """Whoever may read a directory may hold a lock on it."""
    monkeypatch.setattr(state_file, "_PATIENCE", 0.2)
    fd = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    store = Store(path)
    assert not store.update("s", {b"k": b"1"})
    assert "cannot be written, retrying every 5 seconds: " in caplog.text
    os.close(fd)
    store.keep()
    assert dict(Store(path, read_only=True).items("s")) == {b"k": b"1"}


def test_directory_of_another_user_has_no_state_to_be_read(path, caplog):
    Store(path).close()
    os.chown(path.parent, STRANGER, STRANGER)
    assert list(Store(Path(path), read_only=True).items("s")) == []
    assert "not trusted: owned by user 65534" in caplog.text
