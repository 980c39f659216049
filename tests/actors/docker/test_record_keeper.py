import sqlite3
import threading

import pytest

from actors.docker import record_keeper
from actors.docker.record_keeper import RecordKeeper
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

    def keep():
        keeper = RecordKeeper(Store(path, keep_stale=True), failures.append)
        keepers.append(keeper)
        return keeper

    yield keep
    for keeper in keepers:
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
