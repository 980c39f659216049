import pytest

from clusterf.reconcile.hold_record import HoldRecord
from clusterf.reconcile.record import Record


@pytest.fixture
def opened(store):
    return lambda: HoldRecord(Record(store, "hold"))


def test_moment_that_was_saved_last_is_loaded(opened):
    assert opened().load() is None
    opened().save(7.5)
    record = opened()
    assert record.load() == 7.5
    record.save(None)
    assert opened().load() is None


def test_only_changes_are_written(opened, monkeypatch):
    record = opened()
    record.save(7.5)
    written = []
    monkeypatch.setattr(Record, "update", lambda _, changes: written.append(changes))
    record.save(7.5)
    assert written == []
    record.save(None)
    assert list(written[0].values()) == [None]


def test_invalid_record_is_reported_and_ignored(opened, store, caplog):
    Record(store, "hold").update({b"until": b"?"})
    assert opened().load() is None
    assert "state: invalid record of held removals (ignored)" in caplog.text


def test_without_a_record_nothing_is_kept():
    record = HoldRecord()
    record.save(1.0)
    assert record.load() is None
