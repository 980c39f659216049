"""EtcdFollower with an etcd in memory."""

import pytest

from clusterf.etcd import watch_reader
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.values import MAX_VALUE, oversized
from clusterf.etcd.watch import Event
from clusterf.lib.backoff import Backoff
from clusterf.sources import etcd_follower
from tests.clusterf.support.fake_etcd import LOCATION, URL, following, path, settle, wait_for_watch, weight
from tests.waiting import wait_until


def test_events_before_the_end_of_a_watch_are_passed_on(etcd):
    with following(etcd) as (_, view):
        wait_for_watch(etcd)
        etcd.down = set(LOCATION.endpoints)
        watch = etcd.watches[0]
        with etcd._lock:  # so that one batch has both
            etcd.contents[path(1)] = weight(7)
            event = Event(path(1), weight(7), etcd.revision + 1)
            watch.send([event])
            watch.send(EtcdError("broken"))
            etcd.watches.clear()
        view.wait_for(etcd)
        etcd.down.clear()
        wait_for_watch(etcd)
        assert view.weights == {path(1): 7}


def test_no_event_is_lost_when_watches_break(etcd, monkeypatch):
    monkeypatch.setattr(watch_reader, "GATHER", 2)
    with following(etcd) as (_, view):
        wait_for_watch(etcd)
        for number in range(2000):
            etcd.change(path(number), weight(number % 9))
            if number % 100 == 0:
                etcd.send(EtcdError("broken"))
        view.wait_for(etcd)
        assert view.deleted == []


def test_list_at_the_interval_repairs_what_the_watch_missed(etcd):
    etcd.change(path(1), weight(1))
    with following(etcd, interval=0.3) as (_, view):
        wait_for_watch(etcd)
        view.wait_for(etcd)
        etcd.change(path(1), None, times=0)
        etcd.change(path(2), weight(2), times=0)
        view.wait_for(etcd)
        assert len(etcd.watched_from) == 1


def test_silent_watch_times_out(etcd, monkeypatch, caplog):
    monkeypatch.setattr(watch_reader, "SILENCE", 0.2)
    with following(etcd) as (_, view):
        wait_until(lambda: etcd.requested == 2)
        etcd.replies = False
        etcd.change(path(1), weight(1), times=0)
        view.wait_for(etcd)
    assert "watch: timed out" in caplog.text


@pytest.mark.parametrize("meanwhile", [None, weight(2)])
@pytest.mark.parametrize("times", [0, 1])
def test_list_finds_a_key_with_its_former_value(etcd, meanwhile, times):
    etcd.change(path(1), weight(1))
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        etcd.change(path(1), meanwhile, times=times)
        if times:
            view.wait_for(etcd)
        else:
            settle(etcd, follower, view)
        etcd.change(path(1), weight(1), times=0)
        settle(etcd, follower, view)


def test_events_older_than_the_list_are_ignored(etcd):
    etcd.change(path(1), weight(1))
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        late = [Event(path(1), None, etcd.revision + 1), Event(path(1), weight(2), etcd.revision + 2)]
        etcd.change(path(1), None, times=0)
        etcd.change(path(1), weight(2), times=0)
        settle(etcd, follower, view)
        for event in late:
            etcd.send([event])
        etcd.change(path(2), weight(3))
        view.wait_for(etcd)
        assert view.deleted == []


def test_progress_is_requested_when_the_watch_begins(etcd):
    with following(etcd):
        wait_until(lambda: etcd.requested == 1, watch_reader.SILENCE / 2)


def test_quiet_watch_that_replies_is_kept(etcd, quick, monkeypatch, caplog):
    monkeypatch.setattr(watch_reader, "SILENCE", 0.05)
    with following(etcd, interval=0.5):
        wait_until(lambda: len(etcd.lists) > 1)
    assert len(etcd.watched_from) == 1
    assert caplog.messages == []


def test_quiet_watch_of_an_etcd_that_never_replies_is_kept(etcd, quick, monkeypatch, caplog):
    monkeypatch.setattr(watch_reader, "SILENCE", 0.05)
    etcd.replies = False
    with following(etcd, interval=0.5):
        wait_until(lambda: len(etcd.lists) > 1)
    assert len(etcd.watched_from) == 1
    assert caplog.messages == []


def test_watch_is_restarted_when_the_revision_went_back(etcd):
    etcd.revision = 100
    etcd.change(path(1), weight(1))
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        etcd.revision = 5
        etcd.contents, etcd.history = {path(2): weight(2)}, []
        follower.reload()
        wait_until(lambda: etcd.watched_from[1:] == [6])
        etcd.change(path(3), weight(3))
        view.wait_for(etcd)


def test_failure_is_logged_once_per_endpoint_and_again_as_a_reminder(etcd, monkeypatch, caplog):
    monkeypatch.setattr(etcd_follower, "REMINDER", 0.5)
    etcd.down = set(LOCATION.endpoints)
    with following(etcd):
        wait_until(lambda: len(etcd.lists) > 40)
        logged = [message for message in caplog.messages if "refused" in message]
        assert sorted(logged) == [
            f"{URL}: {endpoint}: refused, reconnecting; keeping the current state" for endpoint in LOCATION.endpoints
        ]
        wait_until(lambda: len([message for message in caplog.messages if "refused" in message]) == 4)
    assert len([message for message in caplog.messages if "no last-good copy" in message]) == 1


def test_endpoints_are_tried_in_turn(etcd):
    etcd.down = set(LOCATION.endpoints)
    with following(etcd):
        wait_until(lambda: len(etcd.lists) >= 20)
    assert etcd.lists[0:20:2] == [etcd.lists[0]] * 10
    assert set(etcd.lists[:2]) == set(LOCATION.endpoints)


def test_next_endpoint_is_tried_at_once(etcd):
    etcd.down = {LOCATION.endpoints[0]}
    with following(etcd, backoff=Backoff(3600, 3600)):
        wait_for_watch(etcd)
    assert etcd.lists[-1] == LOCATION.endpoints[1]


def test_watch_that_ends_at_once_is_retried_with_backoff(etcd):
    etcd.compacted = 1000
    backoff = Backoff(0.0001, 0.001)
    with following(etcd, backoff=backoff):
        wait_until(lambda: len(etcd.lists) >= 20)
        assert backoff.tries >= 9


def test_after_steady_following_backoff_and_log_begin_anew(etcd, monkeypatch, caplog):
    monkeypatch.setattr(etcd_follower, "STEADY", 0.0)
    etcd.refusals = 20
    backoff = Backoff(0.0001, 0.001)
    with following(etcd, backoff=backoff):
        for _ in range(2):
            wait_for_watch(etcd)
            etcd.send(EtcdError("broken"))
        wait_for_watch(etcd)
        assert backoff.tries <= 2
    assert len([message for message in caplog.messages if "broken" in message]) == 2


def test_value_that_is_too_large_leaves_the_last_valid_one_in_force(etcd, tmp_path):
    etcd.change(path(1), weight(1))
    etcd.change(path(2), weight(2))
    with following(etcd, tmp_path / "config.db") as (follower, view):
        view.wait_for_sync()
        wait_for_watch(etcd)
        etcd.change(path(1), oversized(300_000_000, MAX_VALUE))
        etcd.change(path(2), weight(3))
        wait_until(lambda: view.weights == {path(1): 1, path(2): 3})
        follower.reload()
        etcd.send([])
        wait_until(lambda: len(etcd.lists) == 2)
    with following(etcd, tmp_path / "config.db") as (_, view):
        view.wait_for_sync()
        assert (view.weights, view.deleted) == ({path(1): 1, path(2): 3}, [])


def test_more_keys_than_can_be_are_an_error(etcd, monkeypatch, caplog):
    monkeypatch.setattr(etcd_follower, "MOST_KEYS", 3)
    with following(etcd) as (_, view):
        wait_for_watch(etcd)
        for number in range(5):
            etcd.change(path(number), weight(1))
        wait_until(lambda: "too much below the prefix: more than 3 keys" in caplog.text)
        assert view.deleted == []
