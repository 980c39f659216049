from clusterf.docker.stops import StopTracker, was_stopped
from tests.clusterf.support.fake_engine import running

CONTAINER = running()
BEGIN = CONTAINER.started_at
TERM, KILL, HUP = 15, 9, 1


def test_started_container_awaits_its_inspection():
    stops = StopTracker()
    assert not stops.awaits_inspection("c1")
    stops.started("c1")
    assert stops.awaits_inspection("c1")
    assert stops.inspected("c1") == {}
    assert not stops.awaits_inspection("c1")


def test_deferred_signals_are_returned_once_with_their_latest_times():
    stops = StopTracker()
    for signal, time in [(TERM, 5), (TERM, 3), (HUP, 4)]:
        stops.defer("c1", signal, time)
    assert stops.inspected("c2") == {}
    assert stops.inspected("c1") == {TERM: 5, HUP: 4}
    assert stops.inspected("c1") == {}


def test_deferred_stop_signal_means_stopping_and_others_do_not():
    stops = StopTracker()
    stops.defer("c1", HUP, BEGIN)
    assert not stops.is_stopping(CONTAINER)
    stops.defer("c1", KILL, BEGIN)
    assert stops.is_stopping(CONTAINER)
    stops.inspected("c1")
    assert not stops.is_stopping(CONTAINER)


def test_oom_of_the_present_run_means_stopping_until_the_next_list():
    stops = StopTracker()
    stops.oom(CONTAINER, BEGIN - 1)
    assert not stops.is_stopping(CONTAINER)
    stops.oom(CONTAINER, BEGIN)
    assert stops.is_stopping(CONTAINER)
    assert not stops.is_stopping(running(started="2026-11-22T13:31:00Z"))
    assert list(stops.listed(["c1"])) == ["c1"]
    assert not stops.is_stopping(CONTAINER)
    assert list(stops.listed(["c1"])) == []


def test_list_drops_what_is_recorded_of_missing_containers():
    stops = StopTracker()
    for container_id in ("c1", "c2"):
        stops.started(container_id)
        stops.defer(container_id, TERM, BEGIN)
    stops.listed(["c2"])
    assert (stops.awaits_inspection("c1"), stops.inspected("c1")) == (False, {})
    assert (stops.awaits_inspection("c2"), stops.inspected("c2")) == (True, {TERM: BEGIN})


def test_forgotten_container_is_not_stopping():
    stops = StopTracker()
    stops.started("c1")
    stops.defer("c1", TERM, BEGIN)
    stops.oom(CONTAINER, BEGIN)
    stops.forget("c1")
    assert not stops.awaits_inspection("c1")
    assert not stops.is_stopping(CONTAINER)


def test_run_was_stopped_by_a_stop_signal_since_it_began():
    assert was_stopped(CONTAINER, {TERM: BEGIN})
    assert was_stopped(CONTAINER, {HUP: BEGIN, KILL: BEGIN + 1})
    assert not was_stopped(CONTAINER, {TERM: BEGIN - 1})
    assert not was_stopped(CONTAINER, {HUP: BEGIN})
    assert was_stopped(running(stop_signal="SIGQUIT"), {3: BEGIN})
    assert not was_stopped(CONTAINER, {})
