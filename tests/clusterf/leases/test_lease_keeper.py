"""LeaseKeeper with leases in memory; with a real etcd: see tests/system/etcd."""

import threading
from contextlib import contextmanager

import pytest

from clusterf.etcd import endpoints
from clusterf.etcd.location import EtcdLocation
from clusterf.leases.lease_file import LeaseFile
from clusterf.leases.lease_keeper import LeaseKeeper
from tests.clusterf.support.fake_leases import FakeClient, FakeEtcd
from tests.waiting import wait_until

LOCATION = EtcdLocation(endpoints=("a:1", "b:1"), prefix=b"/clusterf/")
TTL = 600  # seconds


@pytest.fixture
def etcd(monkeypatch):
    monkeypatch.setattr(endpoints, "Client", FakeClient)
    FakeClient.etcd = FakeEtcd()
    return FakeClient.etcd


@contextmanager
def keeping(lease_file=None, **options):
    keeper = LeaseKeeper(LOCATION, TTL, lease_file, **options)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        yield keeper
    finally:
        keeper.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_keys_are_set_changed_and_deleted_on_one_lease(etcd):
    with keeping() as keeper:
        keeper.want_only({b"a": b"1", b"b": b"1"})
        wait_until(lambda: etcd.keys == {b"a": b"1", b"b": b"1"})
        keeper.want(b"a", b"2")
        keeper.want(b"b", None)
        wait_until(lambda: etcd.keys == {b"a": b"2"})
    assert etcd.granted == 1
    assert etcd.keys == {b"a": b"2"}


def test_no_lease_is_granted_without_keys(etcd):
    with keeping() as keeper:
        keeper.want_only({})
        keeper.check()
    assert etcd.granted == 0


def test_failures_are_logged_once_per_outage(etcd, caplog):
    etcd.down = {"a:1", "b:1"}
    with keeping() as keeper:
        keeper.want(b"a", b"1")
        wait_until(lambda: keeper._backoff.tries > 2)
        etcd.down = {"a:1"}
        wait_until(lambda: etcd.keys == {b"a": b"1"})
    assert sorted(message for message in caplog.messages if "unavailable" in message) == [
        f"etcd {endpoint}: unavailable, reconnecting; published keys expire within 600 seconds"
        for endpoint in LOCATION.endpoints
    ]


def test_lost_lease_is_replaced_and_all_keys_are_set_again(etcd):
    with keeping() as keeper:
        keeper.want_only({b"a": b"1", b"b": b"1"})
        wait_until(lambda: etcd.keys == {b"a": b"1", b"b": b"1"})
        etcd.end(1)
        wait_until(lambda: etcd.leases == {0: {}, 2: {b"a": b"1", b"b": b"1"}})
        etcd.end(2)
        keeper.want(b"a", b"2")
        wait_until(lambda: etcd.keys == {b"a": b"2", b"b": b"1"})
    assert etcd.granted == 3


def test_keys_that_others_take_are_put_back_at_once(etcd, caplog):
    with keeping() as keeper:
        keeper.want_only({b"a": b"1", b"b": b"1"})
        wait_until(lambda: etcd.keys == {b"a": b"1", b"b": b"1"})
        for value in (b"theirs", None, b"1"):
            etcd.put(b"a", value)
            wait_until(lambda: etcd.leases == {0: {}, 1: {b"a": b"1", b"b": b"1"}})
    assert caplog.text.count("keys of ours were deleted or overwritten by someone else, putting them back") == 3
    assert "within 0.1 seconds: a" in caplog.text


def test_check_repairs_what_the_watch_has_not_shown(etcd):
    with keeping() as keeper:
        keeper.want_only({b"a": b"1", b"b": b"1"})
        wait_until(lambda: etcd.keys == {b"a": b"1", b"b": b"1"})
        etcd.leases[1].clear()
        etcd.leases[0][b"a"] = b"theirs"
        keeper.check()
        wait_until(lambda: etcd.leases == {0: {}, 1: {b"a": b"1", b"b": b"1"}})


def test_disk_that_hangs_keeps_no_key_from_being_published(etcd, tmp_path, monkeypatch):
    disk = threading.Event()
    monkeypatch.setattr(LeaseFile, "keep", lambda _: disk.wait(10))
    with keeping(tmp_path / "lease") as keeper:
        keeper.want_only({b"a": b"1"})
        wait_until(lambda: etcd.keys == {b"a": b"1"})
        etcd.end(1)
        wait_until(lambda: etcd.keys == {b"a": b"1"})
        disk.set()


def test_lease_of_another_engine_is_not_kept_nor_is_anything_on_it_deleted(etcd, tmp_path, caplog):
    with keeping(tmp_path / "lease") as keeper:
        keeper.identify("one")
        keeper.want_only({b"a": b"1"})
        wait_until(lambda: etcd.keys)
    with keeping(tmp_path / "lease") as keeper:
        keeper.identify("two")
        keeper.want_only({b"b": b"1"})
        wait_until(lambda: etcd.leases == {0: {}, 1: {b"a": b"1"}, 2: {b"b": b"1"}})
    assert "lease 1 was recorded for another engine, using a new one" in caplog.text
    with keeping(tmp_path / "lease") as keeper:
        keeper.identify("two")
        keeper.want_only({b"b": b"2"})
        wait_until(lambda: etcd.leases[2] == {b"b": b"2"})
    assert etcd.granted == 2


def test_what_was_found_on_a_lease_is_put_back_until_it_is_known_what_is_wanted(etcd, tmp_path):
    with keeping(tmp_path / "lease") as keeper:
        keeper.want_only({b"a": b"1", b"b": b"1"})
        wait_until(lambda: len(etcd.keys) == 2)
    found = []
    with keeping(tmp_path / "lease", on_found=found.append) as keeper:
        wait_until(lambda: found == [{b"a": b"1", b"b": b"1"}])
        etcd.end(1)
        wait_until(lambda: etcd.leases == {0: {}, 2: {b"a": b"1", b"b": b"1"}})
        keeper.want_only({b"a": b"1"})
        wait_until(lambda: etcd.leases == {0: {}, 2: {b"a": b"1"}})


def test_lease_of_the_file_is_taken_over_and_cleared_once_the_set_is_complete(etcd, tmp_path):
    with keeping(tmp_path / "lease") as keeper:
        keeper.want_only({b"old": b"1", b"stays": b"1"})
        wait_until(lambda: etcd.keys == {b"old": b"1", b"stays": b"1"})
    with keeping(tmp_path / "lease") as keeper:
        keeper.want(b"new", b"1")
        wait_until(lambda: b"new" in etcd.keys)
        assert b"old" in etcd.keys
        keeper.want_only({b"new": b"1", b"stays": b"1"})
        wait_until(lambda: etcd.keys == {b"new": b"1", b"stays": b"1"})
    assert etcd.granted == 1


def test_withdraw_revokes_the_lease_although_it_is_stopped_at_once(etcd):
    with keeping() as keeper:
        keeper.want_only({b"a": b"1"})
        wait_until(lambda: etcd.keys)
        keeper.withdraw()
    assert etcd.leases == {0: {}}
