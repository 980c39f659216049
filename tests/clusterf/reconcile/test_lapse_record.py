from ipaddress import IPv6Address

import msgspec
import pytest

from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import Family, Protocol
from clusterf.reconcile.lapse_record import LapseRecord
from clusterf.reconcile.record import Record
from tests.clusterf.support.reconciling import DNS, WEB

ONE, TWO = (b"web", b"1", WEB), (b"dns", b"2", DNS)


@pytest.fixture
def opened(store):
    return lambda: LapseRecord(Record(store, "lapses"))


def test_what_was_saved_last_is_loaded(opened):
    record = opened()
    assert record.load() == {}
    record.update({ONE: 7.5, TWO: -8.0})
    assert opened().load() == {ONE: 7.5, TWO: -8.0}
    record.update({TWO: 9.0, ONE: None})
    assert opened().load() == {TWO: 9.0}
    record.update({TWO: None})
    assert opened().load() == {}


def test_what_was_loaded_is_replaced(opened):
    opened().update({ONE: 7.5})
    record = opened()
    record.load()
    record.update({ONE: None})
    assert opened().load() == {}


def test_what_another_version_of_python_recorded_is_removed_with_what_it_means(opened, store):
    mapped = VirtualServer(Family.IPV6, Protocol.UDP, IPv6Address("::ffff:10.1.1.1"), 53)
    record = Record(store, "lapses")
    for text in ("::ffff:a01:101", "::ffff:10.1.1.1"):
        key = msgspec.msgpack.encode((b"web", b"1", f'["IPV6","UDP","{text}",53,0]'.encode()))
        record.update({key: b"7.5"})
    lapses = opened()
    assert lapses.load() == {(b"web", b"1", mapped): 7.5}
    lapses.update({(b"web", b"1", mapped): None})
    assert opened().load() == {}


def test_only_changes_are_written(opened, monkeypatch):
    record = opened()
    lapses = {ONE: 7.5, TWO: 8.0}
    record.update(lapses)
    written = []
    monkeypatch.setattr(Record, "update", lambda _, changes: written.append(changes))
    record.update(lapses)
    record.update({})
    assert written == []
    record.update(lapses | {ONE: None})
    assert [list(changes.values()) for changes in written] == [[None]]


@pytest.mark.parametrize(("key", "value"), [(b"?", b"1.0"), (b"\x93\xc4\x01a\xc4\x01b\xc4\x01c", b"1.0")])
def test_invalid_entry_is_reported_and_skipped(opened, store, caplog, key, value):
    opened().update({ONE: 7.5})
    Record(store, "lapses").update({key: value})
    assert opened().load() == {ONE: 7.5}
    assert "state: invalid record of a backend without a check (ignored)" in caplog.text


def test_without_a_record_nothing_is_kept():
    record = LapseRecord()
    record.update({ONE: 1.0})
    assert record.load() == {}
