import sqlite3
import threading

import pytest

from actors.docker import record_keeper
from actors.docker.record_keeper import NOBODY, Owner, RecordKeeper
from clusterf.docker.record import ContainerRecord
from clusterf.lib.store import Store
from tests.waiting import wait_until

ONE, TWO = ContainerRecord(1), ContainerRecord(2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "docker.db"


@pytest.fixture
def keep(path):
    """Open keepers that fail the test with any exception of theirs."""
    keepers, failures = [], []

    def keep(owner=NOBODY):
        keeper = RecordKeeper(Store(path, keep_stale=True), failures.append, owner)
        keepers.append(keeper)
        return keeper

    yield keep
    for keeper in keepers:
        if keeper._thread.ident is None:
            keeper._store.close()
        else:
            keeper.close()
    assert failures == []


def test_records_are_there_the_next_time(keep):
    first = keep()
    assert first.read() == {}
    first.start()
    first.put({"c1": ONE, "c2": ONE}, complete=True)
    first.put({"c1": None, "c2": TWO}, complete=False)
    first.close()
    second = keep()
    assert second.read() == {"c2": TWO}
    second.start()


def test_disk_that_hangs_delays_nobody_and_has_the_newest_later(keep, path, caplog, monkeypatch):
    monkeypatch.setattr(record_keeper, "PATIENCE", 0.05)
    keeper = keep()
    keeper.start()
    keeper.put({"c1": ONE}, complete=True)
    wait_until(lambda: _stored(path))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # whoever writes next waits
    keeper.put({"c2": ONE}, complete=False)
    keeper.put({"c2": TWO}, complete=False)
    keeper.close()
    assert "the records of containers cannot be written: the disk does not answer" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: _stored(path) == {"c1", "c2"})


def _stored(path):
    store = Store(path, read_only=True, keep_stale=True)
    keeper = RecordKeeper(store, pytest.fail)
    found = keeper.read()
    store.close()
    return set(found)


def test_failure_is_passed_on(path, monkeypatch):
    failures = []
    failed = threading.Event()

    def fail(error):
        failures.append(error)
        failed.set()

    keeper = RecordKeeper(Store(path), fail)
    monkeypatch.setattr(Store, "update", lambda *_: 1 / 0)
    keeper.start()
    keeper.put({"c1": ONE}, complete=False)
    assert failed.wait(10)
    keeper.close()
    assert isinstance(failures[0], ZeroDivisionError)


HERE = Owner("machine", "boot")


def test_what_was_published_is_there_in_the_same_boot_only_and_nothing_else_stays(keep):
    first = keep(HERE)
    assert first.published() == {}
    first.start()
    assert not first.identify("E")
    first.put({}, complete=True, published={b"a": b"1", b"b": b"1"})
    first.put({}, complete=False, published={b"b": None})
    first.close()
    assert keep(Owner("machine", "another")).published() == {}
    assert keep(Owner("another", "boot")).published() == {}
    second = keep(HERE)
    assert second.published() == {b"a": b"1"}
    second.start()
    second.put({}, complete=True, published={b"c": b"1"})
    second.close()
    assert keep(HERE).published() == {b"c": b"1"}


def test_records_of_another_machine_are_dropped(keep, caplog):
    first = keep(HERE)
    first.start()
    first.identify("E")
    first.put({"c1": ONE}, complete=True)
    first.close()
    second = keep(Owner("another", "boot"))
    assert second.read() == {}
    assert "docker: the records of containers are of another machine (ignored)" in caplog.text
    second.start()
    second.identify("E")
    second.close()
    assert keep(Owner("another", "boot")).read() == {}


def test_records_of_another_engine_are_told_once(keep):
    for engine, other in (("", False), ("E", False), ("E", False), ("F", True), ("F", False)):
        keeper = keep(HERE)
        assert keeper.identify(engine) == other
        assert not keeper.identify("G")
        keeper.identify(engine)
        keeper._owner = Owner("machine", "boot", engine)
        keeper.start()
        keeper.identify(engine)
        keeper.close()


def test_owner_that_cannot_be_read_is_another_one(keep, path, caplog):
    Store(path, keep_stale=True).update("owner", {b"owner": b"{"})
    keeper = keep(HERE)
    assert keeper.read() == {}
    assert "docker: invalid stored record of the node: " in caplog.text
    keeper.start()
