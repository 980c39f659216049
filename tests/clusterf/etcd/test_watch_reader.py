import threading

import pytest

from clusterf.etcd import watch_reader
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.watch import Event
from clusterf.etcd.watch_reader import WatchReader
from tests.clusterf.support.fake_etcd import FakeEtcd, FakeWatch
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(watch_reader, "PAUSE", 0.01)


@pytest.fixture
def etcd():
    return FakeEtcd()


@pytest.fixture
def watch(etcd):
    return FakeWatch(etcd)


@pytest.fixture
def reader(watch):
    reader = WatchReader(watch)
    yield reader
    reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "etcd watch"]


def event(number):
    return Event(b"key", b"%d" % number, number)


def read(reader, count):
    """Return so many events, in the order in which they arrive."""
    events = []
    wait_until(lambda: events.extend(reader.events()) or len(events) >= count)
    return events


def read_until_error(reader):
    with pytest.raises(EtcdError) as failure:
        wait_until(lambda: list(reader.events()) or reader.check())
    return str(failure.value)


def test_events_are_read_in_order(watch, reader):
    events = [event(number) for number in range(3000)]
    for one in events:
        watch.send([one])
    assert read(reader, 3000) == events


def test_error_is_raised_after_the_events_before_it(watch, reader):
    watch.send([event(1)])
    watch.send(EtcdError("broken"))
    assert read(reader, 1) == [event(1)]
    assert read_until_error(reader) == "broken"


def test_silent_watch_that_replied_before_times_out(etcd, watch, reader, monkeypatch):
    monkeypatch.setattr(watch_reader, "SILENCE", 0.05)
    watch.send([])
    wait_until(lambda: list(reader.events()) or reader.check() or etcd.requested)
    etcd.replies = False
    assert read_until_error(reader) == "watch: timed out: no progress notification"


def test_etcd_is_known_as_of_its_last_message_if_it_replies_at_all(watch, reader):
    before = reader.heard
    wait_until(lambda: reader.heard > before)
    watch.send([])
    wait_until(lambda: list(reader.events()) or reader._replies)
    heard = reader.heard
    assert list(reader.events()) == []
    assert reader.heard == heard, "nothing has come since"
    watch.send([event(1)])
    read(reader, 1)
    assert reader.heard > heard


def test_silent_watch_that_never_replies_is_kept(etcd, watch, reader, monkeypatch):
    monkeypatch.setattr(watch_reader, "SILENCE", 0.01)
    etcd.replies = False
    watch.send([])
    wait_until(lambda: list(reader.events()) or reader.check() or etcd.requested > 3)


def test_close_ends_a_thread_that_waits_for_room(watch, monkeypatch):
    monkeypatch.setattr(watch_reader, "GATHER", 2)
    reader = WatchReader(watch)
    for number in range(10):
        watch.send([event(number)])
    wait_until(reader._queue.full)
    reader.close()
    assert not reader._thread.is_alive()


def test_bytes_that_wait_are_bounded_and_all_arrive(watch, reader, monkeypatch):
    monkeypatch.setattr(watch_reader, "MOST_BYTES", 100)
    for number in range(1, 21):
        watch.send([Event(b"key", bytes(60), number)])
    wait_until(lambda: reader._waiting >= 100)
    assert reader._queue.qsize() <= 2
    assert [event.revision for event in read(reader, 20)] == list(range(1, 21))
    assert reader._waiting == 0


def test_close_ends_a_thread_that_waits_for_bytes(watch, monkeypatch):
    monkeypatch.setattr(watch_reader, "MOST_BYTES", 10)
    reader = WatchReader(watch)
    for number in range(1, 5):
        watch.send([Event(b"key", bytes(60), number)])
    wait_until(lambda: reader._waiting >= 10)
    reader.close()
    assert not reader._thread.is_alive()
