import threading

import pytest

from clusterf.etcd.errors import EtcdError
from clusterf.etcd.watch import Event
from clusterf.leases.key_watch import KeyWatch
from tests.clusterf.support.fake_leases import FakeClient, FakeEtcd
from tests.waiting import wait_until


@pytest.fixture
def etcd():
    FakeClient.etcd = FakeEtcd()
    return FakeClient.etcd


def test_events_wake_and_are_returned_once(etcd):
    wake = threading.Event()
    watch = KeyWatch(FakeClient(None, "a:1", 1), 1, wake)
    assert watch.events() == []
    etcd.put(b"a", b"1")
    assert wake.wait(5)
    assert watch.events() == [Event(b"a", b"1", 2)]
    assert watch.events() == []
    watch.close()


def test_end_of_the_watch_comes_after_all_its_events(etcd):
    wake = threading.Event()
    watch = KeyWatch(FakeClient(None, "a:1", 1), 1, wake)
    etcd.put(b"a", b"1")
    etcd.watches[0].cancel()
    wait_until(lambda: len(watch._came) == 2)
    assert watch.events() == [Event(b"a", b"1", 2)]
    for _ in range(2):
        with pytest.raises(EtcdError, match="ended"):
            watch.events()
    watch.close()
