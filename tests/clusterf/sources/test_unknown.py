import pytest

from clusterf.lib.store import Store
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
    unknown = paths(store)
    assert not unknown
    unknown.add(b"health")
    unknown.add(b"routes/\xff")
    assert not paths(store)
    unknown.save()
    assert paths(store).paths() == {b"health", b"routes/\xff"}
    unknown.discard(b"health")
    unknown.save()
    assert paths(store).paths() == {b"routes/\xff"}
    unknown.clear()
    unknown.save()
    assert not paths(store)


def test_nothing_is_written_without_a_change(store):
    unknown = paths(store)
    unknown.add(b"health")
    unknown.save()
    other = paths(store)
    other.discard(b"health")
    other.save()
    unknown.add(b"health")
    unknown.discard(b"routes/r")
    unknown.save()
    assert not paths(store)
