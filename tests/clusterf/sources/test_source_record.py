import pytest

from clusterf.lib.store import Store
from clusterf.sources.source_record import SourceRecord

URL = "etcd://h/clusterf"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "config.db")


def test_value_is_there_after_a_restart(store, tmp_path):
    SourceRecord(URL, store).put("cluster", 7)
    assert SourceRecord(URL, Store(tmp_path / "config.db")).get("cluster", int) == 7


def test_value_that_was_never_recorded_or_removed_is_none(store):
    record = SourceRecord(URL, store)
    assert record.get("cluster", int) is None
    record.put("cluster", 7)
    record.put("cluster", None)
    assert record.get("cluster", int) is None


def test_value_of_another_type_is_reported_and_ignored(store, caplog):
    record = SourceRecord(URL, store)
    record.put("cluster", "seven")
    assert record.get("cluster", int) is None
    assert f"{URL}: recorded cluster invalid" in caplog.text


def test_sources_are_apart_and_no_record_is_a_key_of_the_source(store):
    SourceRecord(URL, store).put("cluster", 7)
    assert SourceRecord("etcd://h/other", store).get("cluster", int) is None
    assert list(store.items(URL)) == []


def test_unchanged_value_is_not_written_again(store, monkeypatch):
    record = SourceRecord(URL, store)
    record.put("cluster", 7)
    monkeypatch.setattr(store, "update", None)
    record.put("cluster", 7)
