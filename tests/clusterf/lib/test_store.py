import errno
import os
import random
import sqlite3
import threading

import pytest

from clusterf.lib.store import Store

ENTRIES = {b"k%d" % number: b"v" * number for number in range(300)}
LARGE = b"x" * 50_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def written(path):
    store = Store(path)
    store.update("s", ENTRIES)
    store.close()
    return path


def fill(store):
    """Let the store's file not grow any more."""
    (pages,) = store._file.db.execute("PRAGMA page_count").fetchone()
    store._file.db.execute(f"PRAGMA max_page_count = {pages}")


def empty(store):
    """Let it grow again."""
    store._file.db.execute("PRAGMA max_page_count = 1000000")


def execute(path, statement, *arguments):
    db = sqlite3.connect(path)
    with db:
        db.execute(statement, arguments)
    db.close()


def test_entries_survive_a_restart(written):
    store = Store(written)
    assert dict(store.items("s")) == ENTRIES
    assert store.get("s", b"k7") == b"v" * 7


def test_sections_are_independent(written):
    store = Store(written)
    store.update("t", {b"k7": b"other"})
    assert store.get("s", b"k7") == b"v" * 7
    assert dict(store.items("t")) == {b"k7": b"other"}
    assert store.get("u", b"k7") is None


def test_none_removes_the_key(written):
    store = Store(written)
    store.update("s", {b"k7": None, b"never": None})
    assert store.get("s", b"k7") is None
    assert dict(Store(written).items("s")).keys() == ENTRIES.keys() - {b"k7"}


def test_keys_and_values_may_be_any_bytes(path):
    entries = {b"": b"", b"\0": b"\xff", b"a'; DROP TABLE entries; --": b"\n", "é".encode(): b"\0"}
    Store(path).update("s '\" %", entries)
    assert dict(Store(path).items("s '\" %")) == entries


def test_items_below_a_path_include_the_path_itself(path):
    store = Store(path)
    store.update("s", dict.fromkeys([b"a", b"a/b", b"a/b/c", b"a/b0", b"a/bc", b"a/b.", b"b", b"a/b/\xff"], b""))
    assert {key for key, _ in store.items("s", below=b"a/b")} == {b"a/b", b"a/b/c", b"a/b/\xff"}
    assert len(list(store.items("s", below=b""))) == 8


def test_store_without_a_path_keeps_nothing():
    store = Store(None)
    store.update("s", ENTRIES)
    store.drop("s", but="t")
    assert store.get("s", b"k1") is None
    assert list(store.items("s")) == []
    assert dict(store.items("s")) == {}
    store.close()


@pytest.mark.parametrize("length", [1, 10, 100, 512, 4095, 4096, 4097, 20000])
def test_truncated_file_is_replaced(written, length):
    os.truncate(written, length)
    store = Store(written)
    assert dict(store.items("s")) == {}
    store.update("s", {b"new": b"1"})
    assert Store(written).get("s", b"new") == b"1"


def test_damaged_file_never_raises_nor_returns_wrong_values(written):
    whole = written.read_bytes()
    for seed in range(80):
        chance = random.Random(seed)
        damaged = bytearray(whole)
        for _ in range(seed // 2 + 1):
            # more often near the beginning, where the structure is
            damaged[int(len(damaged) * chance.random() ** 3)] ^= 1 << chance.randrange(8)
        written.write_bytes(damaged)
        for read_only in (True, False):
            store = Store(written, read_only=read_only)
            assert all(ENTRIES[key] == value for key, value in store.items("s"))
            dict(store.items("s"))
            store.update("s", {b"k5": ENTRIES[b"k5"]})
            store.drop("x", but="xx")
            store.close()
        for suffix in ("-wal", "-shm", ".damaged"):
            written.with_name(written.name + suffix).unlink(missing_ok=True)


def test_foreign_database_is_moved_aside_intact(path, caplog):
    execute(path, "CREATE TABLE precious (x)")
    execute(path, "INSERT INTO precious VALUES (42)")
    store = Store(path)
    store.update("s", {b"k": b"v"})
    assert Store(path).get("s", b"k") == b"v"
    aside = sqlite3.connect(path.with_name("state.db.damaged"))
    assert aside.execute("SELECT x FROM precious").fetchall() == [(42,)]
    aside.close()
    assert "not a state file" in caplog.text


def test_text_file_is_moved_aside(path):
    path.write_text("my notes\n" * 100)
    Store(path).update("s", {b"k": b"v"})
    assert Store(path).get("s", b"k") == b"v"
    assert path.with_name("state.db.damaged").read_text().startswith("my notes")


def test_entry_with_a_wrong_checksum_is_skipped_and_reported(written, caplog):
    execute(written, "UPDATE entries SET value = x'00' WHERE key = ?", b"k7")
    store = Store(written)
    assert store.get("s", b"k7") is None
    assert dict(store.items("s")).keys() == ENTRIES.keys() - {b"k7"}
    assert "k7" in caplog.text


def test_entry_of_a_wrong_type_is_skipped(written):
    execute(written, "UPDATE entries SET value = 'text' WHERE key = ?", b"k7")
    execute(written, "UPDATE entries SET key = 'text' WHERE key = ?", b"k8")
    execute(written, "UPDATE entries SET checksum = 'text' WHERE key = ?", b"k9")
    store = Store(written)
    assert dict(store.items("s")).keys() == ENTRIES.keys() - {b"k7", b"k8", b"k9"}


def test_read_only_store_sees_changes_and_makes_none(written):
    writer = Store(written)
    reader = Store(written, read_only=True)
    writer.update("s", {b"k7": b"new"})
    assert reader.get("s", b"k7") == b"new"
    reader.update("s", {b"k7": b"lost"})
    reader.drop("s", but="t")
    assert writer.get("s", b"k7") == b"new"


def test_read_only_store_creates_no_file(path):
    store = Store(path, read_only=True)
    assert list(store.items("s")) == []
    assert not path.exists()


def test_read_only_store_leaves_a_damaged_file_alone(path, caplog):
    path.write_text("my notes\n" * 100)
    assert list(Store(path, read_only=True).items("s")) == []
    assert path.read_text().startswith("my notes")
    assert "continuing without it" in caplog.text


@pytest.mark.parametrize("place", ["file/state.db", "file/missing/state.db", "directory"])
def test_path_that_cannot_be_created_is_reported_and_tried_again(tmp_path, place, caplog):
    caplog.set_level("INFO")
    (tmp_path / "file").write_text("")
    (tmp_path / "directory").mkdir()
    store = Store(tmp_path / place)
    store.update("s", ENTRIES)
    store.keep()
    assert dict(store.items("s")) == ENTRIES
    assert caplog.text.count("cannot be written, retrying every 5 seconds") == 1
    (tmp_path / "file").unlink()
    (tmp_path / "directory").rmdir()
    store.keep()
    assert "written again, nothing is missing" in caplog.text
    assert dict(Store(tmp_path / place).items("s")) == ENTRIES


def test_failed_write_is_retried_with_the_next_change(written, caplog):
    store = Store(written)
    fill(store)
    store.update("s", {b"k7": b"new", b"k8": None, b"large": LARGE})
    assert "disk is full" in caplog.text
    assert store.get("s", b"k7") == b"new"
    assert store.get("s", b"k8") is None
    rest = {key: value for key, value in ENTRIES.items() if key != b"k8"}
    assert dict(store.items("s")) == rest | {b"k7": b"new", b"large": LARGE}
    assert b"k8" not in dict(store.items("s", below=b"k8"))
    assert Store(written, read_only=True, keep_stale=True).get("s", b"k7") == b"v" * 7
    empty(store)
    store.update("s", {b"k9": b"newer"})
    on_disk = Store(written, read_only=True)
    assert [on_disk.get("s", key) for key in (b"k7", b"k8", b"k9")] == [b"new", None, b"newer"]


def test_unreadable_file_is_reported(written, caplog):
    store = Store(written)
    store._file.db.close()
    assert store.get("s", b"k7") is None
    assert list(store.items("s")) == []
    assert dict(store.items("s")) == {}
    store.drop("s", but="t")
    store.update("s", {b"k": b"v"})
    assert [record.getMessage().partition(": ")[2].rpartition(":")[0] for record in caplog.records] == [
        *[f"{written}: cannot be read"] * 3,
        f"{written}: earlier entries cannot be removed",
        f"{written}: cannot be written, retrying every 5 seconds",
    ]
    store.keep()
    assert Store(written).get("s", b"k") == b"v"


def test_file_may_be_created_by_many_at_once(tmp_path, caplog):
    for turn in range(10):
        path = tmp_path / f"{turn}.db"
        if turn % 2:
            path.write_text("damaged\n" * 200)
        barrier = threading.Barrier(6)

        def begin(number, path=path, barrier=barrier):
            barrier.wait()
            store = Store(path, sections=(str(number),))
            store.update(str(number), {b"k": b"v"})
            store.close()

        threads = [threading.Thread(target=begin, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store = Store(path)
        assert [store.get(str(number), b"k") for number in range(6)] == [b"v"] * 6
        store.close()
    assert caplog.text.count("moved aside") == 5
    assert "continuing without" not in caplog.text


def test_readers_see_whole_transactions(written):
    writer, wrong, done = Store(written), [], threading.Event()

    def read():
        reader = Store(written, read_only=True)
        while not done.is_set():
            found = dict(reader.items("s"))
            if found.keys() != ENTRIES.keys() or len({found[key] for key in (b"k1", b"k2")}) != 1:
                wrong.append(found)
        reader.close()

    writer.update("s", {b"k1": b"", b"k2": b""})
    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(100):
        # both or none: one transaction
        writer.update("s", {b"k1": b"%d" % number, b"k2": b"%d" % number})
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_sections_are_dropped_by_prefix(path):
    store = Store(path)
    for section in ("owned a 1", "owned a 2", "owned b 1", "owned ab 1", "other"):
        store.update(section, {b"k": b"v"})
    store.drop("owned ", but="owned a ")
    assert [s for s in ("owned a 1", "owned a 2", "owned b 1", "owned ab 1", "other") if store.get(s, b"k")] == [
        "owned a 1",
        "owned a 2",
        "other",
    ]


def test_read_only_file_system_is_reported(written, monkeypatch, caplog):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    store = Store(written)
    assert list(store.items("s")) == []
    assert "Read-only file system" in caplog.text
