"""EtcdFollower, when another etcd answers, or one that went back."""

import pytest

from clusterf.etcd.errors import EtcdError
from tests.clusterf.support.fake_etcd import LOCATION, URL, following, path, settle, wait_for_watch, weight
from tests.waiting import wait_until

OTHER_CLUSTER = {"cluster": 9, "revision": 500}
OLDER = {"cluster": 7, "revision": 2}
HOLDING = "holding removals until that ends, or until clusterf config confirm"
INSTEAD = [OTHER_CLUSTER, OLDER]


@pytest.fixture(autouse=True)
def prompt(quick):
    """Have followers see soon that they are to reload."""


@pytest.fixture
def state_file(tmp_path):
    return tmp_path / "config.db"


@pytest.fixture
def known(etcd):
    """The etcd with five keys."""
    for number in range(1, 6):
        etcd.change(path(number), weight(number))
    return etcd


def replaced(etcd, contents, **instead):
    """Have another etcd answer; return a function that brings the former one back."""
    before = (etcd.contents, etcd.restored, etcd.history, etcd.revision)

    def bring_back():
        etcd.contents, etcd.restored, etcd.history, etcd.revision = before
        etcd.cluster = 7
        etcd.send(EtcdError("broken"))

    etcd.restore(contents, **instead)
    return bring_back


def recorded(etcd, state_file):
    """Return the weights in the copy, as a follower without etcd has them."""
    down, etcd.down = etcd.down, set(LOCATION.endpoints)
    with following(etcd, state_file) as (_, view):
        view.wait_for_sync()
    etcd.down = down
    return view.weights


@pytest.mark.parametrize("instead", INSTEAD)
def test_doubt_is_reported_before_the_removals_and_ends_when_the_known_cluster_is_back(
    known, state_file, caplog, instead
):
    with following(known, state_file) as (_, view):
        view.wait_for(known)
        wait_for_watch(known)
        bring_back = replaced(known, {path(1): weight(1), path(9): weight(9)}, **instead)
        view.wait_for(known)
        assert len(view.doubts) == 1
        assert caplog.text.count(HOLDING) == 1
        known.change(path(8), weight(8))
        known.change(path(1), weight(7))
        view.wait_for(known)
        bring_back()
        view.wait_for(known)
        wait_until(lambda: view.doubts[1:] == [None])
        assert caplog.text.count(HOLDING) == 1
        assert caplog.text.count(f"{URL}: the known etcd cluster is back: no longer holding removals") == 1
    assert recorded(known, state_file) == view.weights == {path(n): n for n in range(1, 6)}


@pytest.mark.parametrize("instead", INSTEAD)
def test_confirmed_etcd_is_the_known_one_from_then_on(known, state_file, caplog, instead):
    with following(known, state_file) as (follower, view):
        view.wait_for(known)
        wait_for_watch(known)
        bring_back = replaced(known, {path(9): weight(9)}, **instead)
        view.wait_for(known)
        assert len(view.doubts) == 1
        known.change(path(8), weight(8))
        view.wait_for(known)
        known.change(path(8), None, times=0)
        follower.confirm()
        wait_until(lambda: view.doubts[1:] == [None])
        view.wait_for(known)
        assert caplog.text.count(": no longer holding removals") == 1
    assert recorded(known, state_file) == {path(9): 9}
    with following(known, state_file) as (_, view):
        view.wait_for(known)
        assert view.doubts == []
        if instead is OTHER_CLUSTER:
            wait_for_watch(known)
            bring_back()
            wait_until(lambda: view.doubts)


@pytest.mark.parametrize("instead", INSTEAD)
@pytest.mark.parametrize("reached", [False, True])
def test_doubt_and_what_the_known_cluster_had_last_over_a_restart(known, state_file, instead, reached):
    with following(known, state_file) as (_, view):
        view.wait_for(known)
        wait_for_watch(known)
        replaced(known, {path(1): weight(7), path(9): weight(9)}, **instead)
        view.wait_for(known)
        (doubt,) = view.doubts
    expected = {path(n): n for n in range(2, 6)} | {path(1): 7, path(9): 9}
    for _ in range(2):
        if not reached:
            known.down = set(LOCATION.endpoints)
        with following(known, state_file) as (follower, view):
            wait_until(lambda view=view: view.synced)
            assert view.doubts == [doubt]
            known.down.clear()
            wait_until(lambda view=view: view.weights == expected)
            wait_for_watch(known)
            known.change(path(9), weight(8))
            wait_until(lambda view=view: view.weights[path(9)] == 8)
            known.change(path(9), weight(9))
            wait_until(lambda view=view: view.weights == expected)
            assert view.deleted == []
            assert view.doubts == [doubt]
    with following(known, state_file) as (follower, view):
        wait_until(lambda: view.weights == expected)
        follower.confirm()
        view.wait_for(known)
        assert view.doubts == [doubt, None]
    assert recorded(known, state_file) == {path(1): 7, path(9): 9}


def test_copy_used_first_counts_as_seen(known, state_file):
    with following(known, state_file) as (_, view):
        view.wait_for(known)
    known.down = set(LOCATION.endpoints)
    known.restore({path(9): weight(9)}, **OLDER)
    with following(known, state_file) as (_, view):
        view.wait_for_sync()
        known.down.clear()
        wait_until(lambda: path(9) in view.weights)
        assert len(view.doubts) == 1
        assert view.deleted == []
        assert len(view.weights) == 6


@pytest.mark.parametrize("growth", [0, 20])
def test_older_etcd_whose_revision_has_grown_again_stays_in_doubt(known, state_file, growth):
    with following(known, state_file) as (follower, view):
        view.wait_for(known)
        wait_for_watch(known)
        replaced(known, {path(1): weight(1)}, **OLDER)
        view.wait_for(known)
        for _ in range(growth):
            known.change(path(9), weight(9))
        settle(known, follower, view)
        known.send(EtcdError("broken"))
        wait_for_watch(known)
        settle(known, follower, view)
        assert len(view.doubts) == 1


def test_older_etcd_that_has_grown_while_it_was_away_is_in_doubt(known, state_file):
    with following(known, state_file) as (_, view):
        view.wait_for(known)
        wait_for_watch(known)
        known.restore({path(1): weight(1)}, 2)
        with known._lock:
            known.revision = 50
        view.wait_for(known)
        wait_until(lambda: view.doubts)


@pytest.mark.parametrize("compacted", [False, True])
def test_deletions_while_etcd_was_away_are_believed(known, state_file, compacted):
    with following(known, state_file) as (_, view):
        view.wait_for(known)
        wait_for_watch(known)
        known.down = set(LOCATION.endpoints)
        known.send(EtcdError("broken"))
        for number in (1, 2):
            known.change(path(number), None)
        known.compacted = known.revision if compacted else 0
        known.down.clear()
        view.wait_for(known)
        assert view.doubts == []
    assert len(recorded(known, state_file)) == 3


def test_confirmation_without_doubt_accepts_nothing_later(known, state_file):
    with following(known, state_file) as (follower, view):
        view.wait_for(known)
        wait_for_watch(known)
        lists = len(known.lists)
        follower.confirm()
        wait_until(lambda: len(known.lists) > lists)
        replaced(known, {}, **OTHER_CLUSTER)
        view.wait_for(known)
        wait_until(lambda: view.doubts)
        wait_for_watch(known)
        assert len(view.doubts) == 1


def test_doubt_needs_no_state_file(known):
    with following(known) as (_, view):
        view.wait_for(known)
        wait_for_watch(known)
        bring_back = replaced(known, {}, **OTHER_CLUSTER)
        view.wait_for(known)
        assert len(view.doubts) == 1
        bring_back()
        view.wait_for(known)
        wait_until(lambda: view.doubts[1:] == [None])


def test_record_of_an_earlier_version_has_no_cluster_and_is_believed(known, state_file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("clusterf.sources.source_record.SourceRecord.put", lambda *_: None)
        with following(known, state_file) as (_, view):
            view.wait_for(known)
    known.cluster = 8
    with following(known, state_file) as (_, view):
        view.wait_for(known)
        assert view.doubts == []
        wait_for_watch(known)
        replaced(known, {}, **OTHER_CLUSTER)
        wait_until(lambda: view.doubts)
