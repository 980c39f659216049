"""LeaseKeeper with leases in memory; with a real etcd: see tests/system/etcd."""

import threading
from contextlib import contextmanager

import pytest

from clusterf.etcd import endpoints
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdLocation
from clusterf.leases.lease_keeper import LeaseKeeper
from tests.waiting import wait_until

LOCATION = EtcdLocation(endpoints=("a:1", "b:1"), prefix=b"/clusterf/")
TTL = 600  # seconds


class FakeEtcd:
    """Keys by lease, 0: those of others."""

    def __init__(self):
        self.down: set[str] = set()
        self.leases: dict[int, dict[bytes, bytes]] = {0: {}}
        self.granted = 0

    @property
    def keys(self):
        return {path: value for keys in list(self.leases.values()) for path, value in list(keys.items())}


class FakeClient:
    """A client of `etcd`, at any endpoint that is not down."""

    etcd: FakeEtcd

    def __init__(self, location, endpoint, deadline):
        self.endpoint = endpoint

    def __enter__(self):
        self._check()
        return self

    def __exit__(self, *_):
        pass

    def _check(self, lease=0):
        if self.endpoint in self.etcd.down:
            raise EtcdError(f"{self.endpoint}: unavailable")
        if lease not in self.etcd.leases:
            raise EtcdError("lease not found", lease_gone=True)

    def grant(self, ttl):
        self._check()
        self.etcd.granted += 1
        self.etcd.leases[self.etcd.granted] = {}
        return self.etcd.granted

    def keep_alive(self, lease):
        self._check()
        return TTL if lease in self.etcd.leases else 0

    def revoke(self, lease):
        self._check()
        self.etcd.leases.pop(lease, None)

    def leased(self, lease):
        self._check()
        return dict(self.etcd.leases.get(lease, {}))

    def transact(self, puts, deletes, lease):
        self._check(lease)
        for path, value in puts:
            for keys in self.etcd.leases.values():
                keys.pop(path, None)
            self.etcd.leases[lease][path] = value
        for path in deletes:
            self.etcd.leases[lease].pop(path, None)


@pytest.fixture
def etcd(monkeypatch):
    monkeypatch.setattr(endpoints, "Client", FakeClient)
    FakeClient.etcd = FakeEtcd()
    return FakeClient.etcd


@contextmanager
def keeping(lease_file=None):
    keeper = LeaseKeeper(LOCATION, TTL, lease_file)
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
        del etcd.leases[1]
        keeper.want(b"a", b"2")
        wait_until(lambda: etcd.keys == {b"a": b"2", b"b": b"1"})
    assert etcd.granted == 2


def test_check_repairs_foreign_changes(etcd):
    with keeping() as keeper:
        keeper.want_only({b"a": b"1", b"b": b"1"})
        wait_until(lambda: etcd.keys == {b"a": b"1", b"b": b"1"})
        etcd.leases[1].clear()
        etcd.leases[0][b"a"] = b"theirs"
        keeper.check()
        wait_until(lambda: etcd.leases == {0: {}, 1: {b"a": b"1", b"b": b"1"}})


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
