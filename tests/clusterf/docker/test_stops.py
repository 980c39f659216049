from math import inf

import pytest

from clusterf.docker.stops import LIVE, OOM_SECONDS, STOP_SECONDS, StopTracker, was_stopped
from tests.clusterf.support.fake_engine import running

CONTAINER = running()
BEGIN = CONTAINER.started_at
TERM, KILL, HUP = 15, 9, 1
MARGIN = 2


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stops(clock):
    return StopTracker(clock)


def test_started_container_awaits_its_inspection(stops):
    assert not stops.awaits_inspection("c1")
    stops.started("c1")
    assert stops.awaits_inspection("c1")
    assert stops.inspected("c1") == {}
    assert not stops.awaits_inspection("c1")


def test_deferred_signals_are_returned_once_with_their_latest_times(stops):
    for signal, time in [(TERM, 5), (TERM, 3), (HUP, 4)]:
        stops.defer("c1", signal, time)
    assert stops.inspected("c2") == {}
    assert stops.inspected("c1") == {TERM: 5, HUP: 4}
    assert stops.inspected("c1") == {}


def test_deferred_stop_signal_means_stopping_and_others_do_not(stops):
    stops.defer("c1", HUP, BEGIN)
    assert not stops.is_stopping(CONTAINER)
    stops.defer("c1", KILL, BEGIN)
    assert stops.is_stopping(CONTAINER)
    stops.inspected("c1")
    assert not stops.is_stopping(CONTAINER)


def test_oom_of_the_present_run_means_stopping_until_a_look_a_moment_later(stops, clock):
    stops.oom(CONTAINER, BEGIN - 1)
    assert (stops.is_stopping(CONTAINER), stops.wait()) == (False, inf)
    stops.oom(CONTAINER, BEGIN)
    assert (stops.is_stopping(CONTAINER), stops.wait()) == (True, OOM_SECONDS)
    assert not stops.is_stopping(running(started="2026-11-22T13:31:00Z"))
    stops.listed(["c1"])
    assert not stops.outlived(CONTAINER)
    assert (stops.is_stopping(CONTAINER), stops.due()) == (True, [])
    clock.now += OOM_SECONDS
    assert (stops.wait(), stops.due(), stops.due(), stops.wait()) == (0, ["c1"], [], inf)
    assert stops.outlived(CONTAINER)
    assert not stops.is_stopping(CONTAINER)
    assert not stops.outlived(CONTAINER)


@pytest.mark.parametrize(
    ("own", "default", "seconds"), [(None, 10, 10), (3, 10, 3), (60, 10, 60), (None, 20, 20), (0, 1, 0), (-1, 1, inf)]
)
def test_stop_signal_counts_for_the_time_after_which_the_engine_kills(clock, own, default, seconds):
    stops, container = StopTracker(clock, default), running(stop_timeout=own)
    stops.stopping(container, again=True)
    assert stops.wait() == seconds + MARGIN
    clock.now += 1
    stops.stopping(container, again=False)
    assert stops.wait() == seconds + MARGIN - 1
    stops.stopping(container, again=True)
    assert stops.wait() == seconds + MARGIN
    clock.now += seconds + MARGIN - 0.1 if seconds < inf else 10**9
    assert not stops.outlived(container)
    if seconds < inf:
        clock.now += 0.2
        assert stops.due() == ["c1"]
        assert stops.outlived(container)
    assert stops.is_asked(container) is (seconds == inf)


def test_container_that_has_ended_is_not_looked_at(stops, clock):
    stops.stopping(CONTAINER, again=True)
    stops.oom(CONTAINER, BEGIN)
    clock.now += STOP_SECONDS + MARGIN
    assert not stops.outlived(running(running=False))
    assert (stops.due(), stops.wait()) == ([], inf)


def test_look_that_was_not_answered_is_asked_for_again_after_a_list(stops, clock):
    stops.oom(CONTAINER, BEGIN)
    clock.now += OOM_SECONDS
    assert stops.due() == ["c1"]
    stops.listed(["c1"])
    assert stops.due() == ["c1"]


def test_start_ends_all_that_came_before_it(stops, clock):
    stops.defer("c1", TERM, LIVE)
    stops.oom(CONTAINER, LIVE)
    stops.stopping(CONTAINER, again=True)
    stops.started("c1")
    assert not stops.is_stopping(CONTAINER)
    assert (stops.inspected("c1"), stops.wait()) == ({}, inf)


def test_list_drops_what_is_recorded_of_missing_containers(stops):
    for container_id in ("c1", "c2"):
        stops.started(container_id)
        stops.defer(container_id, TERM, BEGIN)
    stops.listed(["c2"])
    assert (stops.awaits_inspection("c1"), stops.inspected("c1")) == (False, {})
    assert (stops.awaits_inspection("c2"), stops.inspected("c2")) == (True, {TERM: BEGIN})


def test_forgotten_container_is_not_stopping(stops):
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
