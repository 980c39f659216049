"""EtcdFollower when leases end: what goes with them stays in force for a while."""

import pytest

from clusterf.etcd.errors import EtcdError
from clusterf.sources import lease_ends
from tests.clusterf.support.fake_etcd import following, path, settle, wait_for_watch, weight
from tests.waiting import wait_until

HELD = "leases ended at once"


@pytest.fixture(autouse=True)
def short(quick, monkeypatch):
    """Have a lease that ended alone go soon."""
    monkeypatch.setattr(lease_ends, "WITHIN", 0.1)
    monkeypatch.setattr(lease_ends, "_EVIDENCE", 0.3)


@pytest.fixture
def two(etcd):
    """Two leases with a key each."""
    leases = etcd.grant(1), etcd.grant(1)
    for number, lease in enumerate(leases):
        etcd.change(path(number), weight(number + 1), lease=lease)
    return leases


BOTH = {path(0): 1, path(1): 2}


def test_keys_of_leases_that_end_together_stay_and_come_back(etcd, two, caplog):
    with following(etcd) as (_, view):
        wait_for_watch(etcd)
        etcd.end(*two)
        wait_until(lambda: HELD in caplog.text)
        etcd.change(path(0), weight(1), lease=etcd.grant())
        etcd.change(path(1), weight(7), lease=etcd.grant())
        view.wait_for(etcd)
        wait_until(lambda: "no longer held: 2 keys are back, 0 are removed" in caplog.text)
        assert (view.weights, view.deleted) == ({path(0): 1, path(1): 7}, [])


def test_keys_of_leases_that_end_together_go_after_twice_the_ttl(etcd, two, caplog):
    with following(etcd) as (_, view):
        wait_for_watch(etcd)
        etcd.end(*two)
        wait_until(lambda: HELD in caplog.text)
        assert view.weights == BOTH
        view.wait_for(etcd)
        assert sorted(view.deleted) == sorted(BOTH)


def test_keys_of_one_lease_go_when_another_lives(etcd, two, caplog):
    with following(etcd) as (_, view):
        wait_for_watch(etcd)
        lease_ends_alone(view, etcd, two[0])
        assert (view.deleted, HELD in caplog.text) == ([path(0)], False)


def lease_ends_alone(view, etcd, lease):
    """Have a lease end when etcd has been heard of for a while."""
    changes = iter(range(1000))

    def is_steady():
        etcd.change(path(9), weight(next(changes)))
        return next(changes) > 60

    wait_until(is_steady)
    etcd.end(lease)
    view.wait_for(etcd)


def test_deleted_key_goes_at_once_though_it_is_on_a_lease(etcd, two, caplog):
    with following(etcd) as (_, view):
        wait_for_watch(etcd)
        etcd.change(path(0), None)
        view.wait_for(etcd)
        assert view.deleted == [path(0)]
        assert caplog.messages == []


def test_leases_that_ended_while_the_watch_was_broken_are_found_by_the_list(etcd, two, caplog):
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        wait_until(lambda: follower._leases._ttls.keys() == set(two))
        etcd.end(*two, times=0)
        etcd.send(EtcdError("broken"))
        wait_until(lambda: HELD in caplog.text)
        assert (view.weights, view.deleted, view.doubts) == (BOTH, [], [])
        etcd.change(path(0), weight(1), lease=etcd.grant())
        view.wait_for(etcd)
        assert view.deleted == [path(1)]


def test_reload_neither_ends_nor_prolongs_a_hold(etcd, two, caplog):
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        etcd.end(*two)
        wait_until(lambda: HELD in caplog.text)
        follower.reload()
        wait_until(lambda: len(etcd.lists) == 2)
        assert view.weights == BOTH
        view.wait_for(etcd)
    assert view.doubts == []


def test_confirmation_ends_a_hold(etcd, two, caplog, monkeypatch):
    etcd.times = {lease: etcd.times[lease]._replace(left=600, granted=600) for lease in two}
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        etcd.end(*two)
        wait_until(lambda: HELD in caplog.text)
        follower.confirm()
        view.wait_for(etcd)
    assert "0 keys are back, 2 are removed" in caplog.text


@pytest.mark.parametrize("unreachable", [False, True])
def test_hold_goes_on_in_the_next_process(etcd, two, caplog, tmp_path, unreachable):
    file = tmp_path / "config.db"
    with following(etcd, file) as (_, view):
        wait_for_watch(etcd)
        etcd.end(*two)
        wait_until(lambda: HELD in caplog.text)
    etcd.refusals = 4 if unreachable else 0
    with following(etcd, file) as (_, view):
        view.wait_for_sync()
        assert (view.synced, view.deleted, view.doubts) == ([set(BOTH)], [], [])
        wait_until(lambda: "as before the start" in caplog.text)
        etcd.change(path(0), weight(1), lease=etcd.grant())
        view.wait_for(etcd)
        assert (view.deleted, view.doubts) == ([path(1)], [])


def test_leases_that_ended_while_no_process_ran_are_held(etcd, two, caplog, tmp_path):
    file = tmp_path / "config.db"
    with following(etcd, file) as (follower, view):
        view.wait_for_sync()
        wait_for_watch(etcd)
        wait_until(lambda: follower._leases._ttls.keys() == set(two))
    etcd.end(*two)
    with following(etcd, file) as (_, view):
        view.wait_for_sync()
        assert (view.synced, view.deleted, view.doubts) == ([set(BOTH)], [], [])
        view.wait_for(etcd)
        assert sorted(view.deleted) == sorted(BOTH)


def test_another_etcd_that_is_confirmed_has_no_leases_to_wait_for(etcd, two, caplog):
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        etcd.times = dict.fromkeys(two, etcd.times[two[0]]._replace(left=0, granted=0))
        etcd.leases = {}
        etcd.restore({path(5): weight(5)}, 5, cluster=8)
        wait_until(lambda: "another etcd cluster answers" in caplog.text)
        assert HELD not in caplog.text
        follower.confirm()
        view.wait_for(etcd)
        settle(etcd, follower, view)
        assert HELD not in caplog.text
