import pytest

from clusterf.host import boot
from clusterf.reconcile.record import Record


@pytest.fixture
def reboot(monkeypatch, tmp_path):
    """Return what gives this machine the boot id of another boot."""

    def reboot(name):
        (tmp_path / "boot_id").write_text(f"{name}\n")
        monkeypatch.setattr(boot, "_BOOT_ID", tmp_path / "boot_id")

    return reboot


def test_keys_are_recorded_and_removed(store):
    record = Record(store, "owned")
    record.update({b"a": b"1", b"b": b"2", b"c": b""})
    record.update({b"b": None, b"a": b"3"})
    assert dict(record.items()) == dict(Record(store, "owned").items()) == {b"a": b"3", b"c": b""}
    assert record.get(b"a") == b"3"
    assert record.get(b"b") is None


def test_what_was_found_under_another_key_is_replaced_or_removed_with_the_key_it_has_now(store):
    Record(store, "owned").update({b"old a": b"1", b"old b": b"2", b"b": b"3", b"c": b"4"})
    record = Record(store, "owned")
    for key, now in [(b"old a", b"a"), (b"old b", b"b"), (b"b", b"b"), (b"c", b"c")]:
        record.found(key, now)
    record.update({b"c": b"5"})
    assert dict(record.items()) == {b"old a": b"1", b"old b": b"2", b"b": b"3", b"c": b"5"}
    record.update({b"a": b"6", b"b": None})
    assert dict(record.items()) == {b"a": b"6", b"c": b"5"}


def test_each_kind_has_a_record_of_its_own(store):
    Record(store, "owned").update({b"a": b"1"})
    assert Record(store, "sync").get(b"a") is None


def test_record_of_an_earlier_boot_is_dropped(store, reboot):
    reboot("one")
    Record(store, "owned").update({b"a": b"1"})
    Record(store, "sync").update({b"b": b"2"})
    reboot("two")
    assert dict(Record(store, "owned").items()) == {}
    reboot("one")
    assert dict(Record(store, "owned").items()) == {}
    assert Record(store, "sync").get(b"b") == b"2", "which nobody has opened meanwhile"
