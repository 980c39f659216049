"""IpvsWriter and its record, when the disk fails or the file is gone."""

from actors.director import ipvs_writer
from clusterf.lib.store import Store
from clusterf.reconcile.ownership import Ownership
from tests.actors.support.writing import virtual
from tests.waiting import wait_until


def recorded(path):
    return set(Ownership(Store(path, read_only=True)).load())


def test_record_is_written_anew_when_its_file_is_gone(writing, monkeypatch):
    monkeypatch.setattr(ipvs_writer, "KEEP_INTERVAL", 0.01)
    writing.start().want(v1={1: 1}).settled()
    writing.path.unlink()
    wait_until(writing.path.exists)
    wait_until(lambda: recorded(writing.path) == {virtual(1)})


def test_record_is_written_when_the_writer_stops(writing):
    writing.start().want(v1={1: 1}).settled()
    writing.path.unlink()
    writing.ref.stop(timeout=10)
    assert recorded(writing.path) == {virtual(1)}
