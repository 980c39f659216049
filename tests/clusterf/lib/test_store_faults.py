"""A store whose disk is full, read-only or exchanged, and what is believed of its file afterwards."""

import shutil
import sqlite3

import pytest

from clusterf.lib import store as module
from clusterf.lib.state_mark import StateMark
from clusterf.lib.store import Store

LARGE = b"x" * 50_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "state.db"


@pytest.fixture
def run(tmp_path):
    """A directory on another disk, which outlasts the process."""
    return tmp_path / "run"


@pytest.fixture
def store(path, run):
    store = Store(path, elsewhere=run)
    store.update("s", {b"old": b"1", b"kept": b"1"})
    return store


def fill(store):
    """Let the store's file not grow any more, as on a full disk."""
    (pages,) = store._file.db.execute("PRAGMA page_count").fetchone()
    store._file.db.execute(f"PRAGMA max_page_count = {pages}")


def found(path, **options):
    """Return what the next process finds, and whether it has to take that for out of date."""
    store = Store(path, read_only=True, **options)
    return dict(store.items("s")), store.stale


def test_what_could_not_be_written_is_written_by_keep_without_another_change(store, path, caplog):
    caplog.set_level("INFO")
    fill(store)
    assert not store.update("s", {b"old": None, b"large": LARGE})
    store.keep()  # on a new connection, which may grow
    assert found(path) == ({b"kept": b"1", b"large": LARGE}, False)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_failure_that_lasts_is_logged_once(store, path, caplog):
    store._file.db.close()
    shutil.rmtree(path.parent)
    path.parent.write_text("")
    for _ in range(3):
        store.keep()
        store.update("s", {b"new": b"1"})
    assert len([record for record in caplog.records if "retrying" in record.getMessage()]) == 1


def test_what_could_not_be_written_is_written_when_the_store_is_closed(store, path):
    fill(store)
    store.update("s", {b"old": None, b"large": LARGE})
    store.close()
    assert found(path)[0].keys() == {b"kept", b"large"}


def test_nothing_of_a_file_that_is_out_of_date_is_believed(store, path, caplog):
    fill(store)
    store.update("s", {b"old": None, b"large": LARGE})
    assert found(path) == ({}, False)
    assert Store(path).get("s", b"old") is None
    assert "state.db: may be out of date (ignored)" in caplog.text
    assert found(path) == ({}, False)
    assert caplog.text.count("out of date") == 2, "the process that began with it has emptied it"


def test_file_that_is_out_of_date_may_be_kept_until_it_is_renewed(store, path):
    fill(store)
    store.update("s", {b"old": None, b"large": LARGE})
    later = Store(path, keep_stale=True)
    assert later.stale
    later.update("s", {b"old": b"2"})
    later.keep()
    assert found(path, keep_stale=True) == ({b"old": b"2", b"kept": b"1"}, True)
    later.renew()
    assert found(path, keep_stale=True) == ({b"old": b"2", b"kept": b"1"}, False)


def test_file_on_a_disk_that_became_read_only_is_not_believed(store, path, run, monkeypatch):
    """Its mark cannot be removed, but it is void by what is noted elsewhere."""
    store._file.db.execute("PRAGMA query_only = 1")

    def refuse(self, **_):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as disk:
        disk.setattr(type(path), "unlink", refuse)
        store.update("s", {b"old": None})
    assert StateMark(path, None, None).look(store._file.inode)
    assert found(path, elsewhere=run) == ({}, False)
    store.keep()
    assert found(path, elsewhere=run) == ({b"kept": b"1"}, False)


def test_disk_that_takes_no_note_at_all_is_reported(store, path, monkeypatch, caplog):
    store._mark = StateMark(path, None, None)
    store._file.db.execute("PRAGMA query_only = 1")
    monkeypatch.setattr(type(path), "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(30, "Read-only")))
    store.update("s", {b"old": None})
    assert "state.db: cannot be marked as out of date" in caplog.text


def test_file_that_can_only_be_read_is_not_believed(store, path, monkeypatch):
    store.close()

    def refuse(*arguments, **options):
        raise sqlite3.OperationalError("attempt to write a readonly database")

    with monkeypatch.context() as disk:
        disk.setattr(module, "open_file", refuse)
        reader = Store(path)
        copy = Store(path, keep_stale=True)
    assert dict(reader.items("s")) == {}
    assert (dict(copy.items("s")), copy.stale) == ({b"old": b"1", b"kept": b"1"}, True)
    reader.update("s", {b"new": b"1"})
    reader.keep()
    assert found(path) == ({b"new": b"1"}, False)


def test_file_of_an_earlier_version_is_believed(store, path):
    store.close()
    (path.parent / "state.db.complete").unlink()
    db = sqlite3.connect(path)
    with db:
        db.execute("DELETE FROM entries WHERE section = 'store'")
    db.close()
    assert found(path) == ({b"old": b"1", b"kept": b"1"}, False)
    later = Store(path)
    fill(later)
    later.update("s", {b"large": LARGE})
    assert found(path) == ({}, False), "from now on it has a mark"


def test_copy_of_a_state_directory_is_not_believed(store, path, tmp_path):
    store.close()
    shutil.copytree(path.parent, tmp_path / "copy")
    assert found(tmp_path / "copy/state.db") == ({}, False)
    path.parent.rename(tmp_path / "renamed")
    assert found(tmp_path / "renamed/state.db") == ({b"old": b"1", b"kept": b"1"}, False)


def renamed(path):
    path.parent.rename(path.parent.with_name("renamed"))


def removed(path):
    shutil.rmtree(path.parent)


def unlinked(path):
    path.unlink()


def without_log(path):
    path.with_name("state.db-wal").unlink()


def replaced(path):
    renamed(path)
    Store(path).update("s", {b"strange": b"1"})


@pytest.mark.parametrize("vanish", [renamed, removed, unlinked, without_log, replaced])
def test_file_that_is_no_longer_at_its_path_is_written_anew_and_whole(store, path, vanish, caplog):
    vanish(path)
    store.update("s", {b"old": None, b"new": b"1"})
    store.keep()
    assert "state.db: was removed or replaced: writing all of it again" in caplog.text
    store.update("s", {b"newer": b"1"})
    store.keep()
    assert caplog.text.count("removed or replaced") == 1
    expected = {b"kept": b"1", b"new": b"1", b"newer": b"1"}
    assert found(path) == (expected, False)
    store.close()
    assert found(path) == (expected, False)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_stores_that_share_a_file_each_write_their_own_sections_anew(path):
    stores = {name: Store(path, sections=(name, f"origin {name}")) for name in ("a", "b")}
    for name, store in stores.items():
        store.update(name, {b"k": name.encode()})
        store.update(f"origin {name}", {b"o": name.encode()})
    removed(path)
    for store in stores.values():
        store.keep()
    for name, store in stores.items():
        store.close()
        later = Store(path, sections=(name, f"origin {name}"))
        assert dict(later.items(name)) == {b"k": name.encode()}
        assert dict(later.items(f"origin {name}")) == {b"o": name.encode()}


def test_each_of_the_stores_that_share_a_file_has_a_mark_of_its_own(path):
    stores = {name: Store(path, sections=(name,)) for name in ("a", "b")}
    for name, store in stores.items():
        store.update(name, {b"k": b"1"})
    fill(stores["a"])
    stores["a"].update("a", {b"k": LARGE})
    stores["b"].update("b", {b"k": b"2"})
    assert [dict(Store(path, sections=(name,)).items(name)) for name in ("a", "b")] == [{}, {b"k": b"2"}]


@pytest.mark.parametrize(("keep_stale", "synchronous"), [(False, 0), (True, 1)])
def test_only_what_is_of_use_after_a_boot_waits_for_a_slow_disk(path, keep_stale, synchronous):
    store = Store(path, keep_stale=keep_stale)
    assert store._file.db.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    removed(path)
    store.keep()
    assert store._file.db.execute("PRAGMA synchronous").fetchone() == (synchronous,)


def test_guest_neither_judges_nor_marks_the_file(store, path):
    fill(store)
    store.update("s", {b"large": LARGE})
    guest = Store(path, guest=True)
    assert guest.update("s", {b"old": None})
    guest.close()
    assert found(path) == ({}, False), "still out of date"
    assert found(path, keep_stale=True) == ({b"kept": b"1"}, True)


@pytest.mark.parametrize("keep_stale", [False, True])
def test_directory_that_was_renamed_and_is_put_back_is_not_believed(path, tmp_path, keep_stale):
    store = Store(path, keep_stale=keep_stale)
    store.update("s", {b"old": b"1"})
    path.parent.rename(tmp_path / "aside")
    store.keep()
    store.update("s", {b"old": None})
    store.close()
    shutil.rmtree(path.parent)
    (tmp_path / "aside").rename(path.parent)
    again = Store(path, keep_stale=keep_stale)
    assert (dict(again.items("s")), again.stale) == (({b"old": b"1"}, True) if keep_stale else ({}, False))
    again.renew()
    again.update("s", {b"new": b"1"})
    again.close()
    assert found(path) == ({b"new": b"1"} | ({b"old": b"1"} if keep_stale else {}), False)
