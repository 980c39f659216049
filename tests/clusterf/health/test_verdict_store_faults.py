"""Verdicts on a disk that is full for a moment, and in the files of other processes."""

import pytest

from clusterf.health import verdict_store
from clusterf.health.verdict import StoredVerdict, Verdict
from clusterf.health.verdict_store import VerdictStore
from clusterf.lib.addresses import parse_endpoint
from clusterf.lib.store import Store

UP = StoredVerdict(Verdict(True, 100.0), proven=True)
ONE, TWO = ((b"web", b"%d" % number, parse_endpoint(f"10.0.0.{number}:80")) for number in (1, 2))
DISK = {"full": False}
OPENED = []


class Disk(Store):
    """A store whose file cannot be changed while the disk is full, and what stores were asked to be."""

    def __init__(self, path, **options):
        OPENED.append((path.name, options))
        super().__init__(path, **options)

    def _write(self):
        return not DISK["full"] and super()._write()


@pytest.fixture(autouse=True)
def _disk(monkeypatch):
    monkeypatch.setattr(verdict_store, "Store", Disk)
    OPENED.clear()
    monkeypatch.setitem(DISK, "full", False)


def open_store(tmp_path, name="health", **options):
    return VerdictStore(tmp_path / f"{name}.db", lambda at: True, **options)


def stored(tmp_path, name="health"):
    """Return what the file of one process has."""
    store = open_store(tmp_path, name)
    store._others = []
    found = store.load().keys()
    store.close()
    return found


@pytest.fixture
def moved(tmp_path):
    """A store that has claimed its verdicts, which are still in the file of another process: the disk is full."""
    other = open_store(tmp_path, "health2")
    other.record({ONE: UP, TWO: UP})
    other.close()
    store = open_store(tmp_path)
    store.record(store.load())
    DISK["full"] = True
    store.forget_unclaimed()
    return store


@pytest.mark.parametrize("when", ["keep", "close"])
def test_what_could_not_be_deleted_with_others_is_deleted_when_the_disk_is_well(moved, tmp_path, when):
    moved.keep()
    assert stored(tmp_path, "health2") == {ONE, TWO}
    DISK["full"] = False
    getattr(moved, when)()
    assert stored(tmp_path, "health2") == set()


@pytest.mark.parametrize("when", ["keep", "close"])
def test_nothing_is_deleted_with_others_before_verdicts_are_claimed(tmp_path, when):
    other = open_store(tmp_path, "health2")
    other.record({ONE: UP})
    other.close()
    store = open_store(tmp_path)
    store.load()
    getattr(store, when)()
    assert stored(tmp_path, "health2") == {ONE}


def test_what_could_not_be_recorded_is_recorded_by_keep(tmp_path):
    store = open_store(tmp_path)
    DISK["full"] = True
    store.record({ONE: UP})
    assert stored(tmp_path) == set()
    DISK["full"] = False
    store.keep()
    assert stored(tmp_path) == {ONE}
    store.close()


def test_files_of_others_are_read_without_a_change_and_deleted_from_as_a_guest(tmp_path):
    open_store(tmp_path, "health2").record({ONE: UP})
    OPENED.clear()
    store = open_store(tmp_path, elsewhere=tmp_path / "run")
    store.record(store.load())
    store.forget_unclaimed()
    opened = OPENED[:]
    assert opened == [
        ("health.db", {"read_only": False, "elsewhere": tmp_path / "run"}),
        ("health2.db", {"read_only": True, "elsewhere": tmp_path / "run"}),
        ("health2.db", {"read_only": False, "guest": True}),
    ]
    store.close()
