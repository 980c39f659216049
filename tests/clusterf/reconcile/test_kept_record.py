import pytest

from clusterf.reconcile.kept_record import Kept, KeptRecord
from clusterf.reconcile.record import Record
from tests.clusterf.support.reconciling import DNS, ONE, TWO, WEB

KEPT = Kept(frozenset({"tree: a", "etcd: b"}), frozenset({(WEB, None), (WEB, ONE), (DNS, TWO)}))


@pytest.fixture
def opened(store):
    return lambda: KeptRecord(Record(store, "kept"))


def test_what_was_saved_last_is_loaded(opened):
    assert opened().load() == Kept()
    opened().save(KEPT)
    record = opened()
    assert record.load() == KEPT
    record.save(Kept())
    assert opened().load() == Kept()


def test_only_changes_are_written(opened, monkeypatch):
    record = opened()
    written = []
    monkeypatch.setattr(Record, "update", lambda _, changes: written.append(changes))
    record.save(Kept())
    assert written == []
    record.save(KEPT)
    record.save(KEPT._replace(servers=frozenset(KEPT.servers)))
    assert len(written) == 1


@pytest.mark.parametrize("raw", [b"?", b"\x92\x90\x91\x92\xc4\x00\xc0"])
def test_invalid_record_is_reported_and_ignored(opened, store, caplog, raw):
    Record(store, "kept").update({b"kept": raw})
    assert opened().load() == Kept()
    assert "state: invalid record of what is kept (ignored)" in caplog.text


def test_without_a_record_nothing_is_remembered():
    record = KeptRecord()
    record.save(KEPT)
    assert record.load() == Kept()
