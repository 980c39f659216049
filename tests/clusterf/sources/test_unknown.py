import pytest

from clusterf.lib.store import Store
from clusterf.sources import unknown
from clusterf.sources.source_record import SourceRecord
from clusterf.sources.unknown import UnknownPaths


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "config.db")
    yield store
    store.close()


def paths(store):
    return UnknownPaths(SourceRecord("file:///tree", store))


def test_paths_are_recorded_once_they_are_saved(store):
    first = paths(store)
    assert not first
    first.add(b"health")
    first.add(b"routes/\xff")
    assert not paths(store)
    first.save()
    assert paths(store).paths() == {b"health", b"routes/\xff"}
    first.discard(b"health")
    first.save()
    assert paths(store).paths() == {b"routes/\xff"}
    first.clear()
    first.save()
    assert not paths(store)


def test_moment_is_that_of_the_newest_path_and_recorded(store, monkeypatch):
    monkeypatch.setattr(unknown.time, "time", lambda: 0.0)
    first = paths(store)
    first.add(b"health")
    assert first.since == "1970-01-01T00:00:00.000+00:00"
    monkeypatch.setattr(unknown.time, "time", lambda: 1.5)
    first.add(b"health")
    first.discard(b"routes/r")
    first.save()
    second = paths(store)
    assert second.since == "1970-01-01T00:00:00.000+00:00"
    second.add(b"routes/r")
    assert second.since == "1970-01-01T00:00:01.500+00:00"


def test_nothing_is_written_without_a_change(store):
    first = paths(store)
    first.add(b"health")
    first.save()
    other = paths(store)
    other.discard(b"health")
    other.save()
    first.add(b"health")
    first.discard(b"routes/r")
    first.save()
    assert not paths(store)
