import pytest

from clusterf.health.verdict import ProbeResult, StoredVerdict, Verdict
from tests.clusterf.support.monitor_world import CHECK, DOWN, FAILURE, SUCCESS, UP, WALL, MonitorWorld, target


def test_transition_has_the_verdicts_the_result_and_the_streak():
    world, one = MonitorWorld(), target(1)
    world.watch(one, stored=UP)
    transitions = []
    for number in range(3):
        world.now = max(world.now, world.monitor.wake_at())
        assert world.monitor.take(world.now) == [one]
        transitions = world.finish(one, FAILURE)
        assert bool(transitions) == (number == 2)
    verdict = Verdict(False, WALL + world.now, "refused")
    assert transitions == [(one, verdict, UP.verdict, FAILURE, 3)]
    assert world.monitor.verdict(one) == verdict
    assert world.monitor.stored(one) == StoredVerdict(verdict, True)


def test_first_success_is_a_streak_of_one_though_failures_came_before():
    world, one = MonitorWorld(), target(1)
    world.watch(one)
    world.failing.add(one)
    world.run(1.5)
    world.failing.clear()
    world.run(2.0)
    assert [(change.verdict.up, change.streak) for change in world.transitions] == [(True, 1)]


def test_lag_is_how_late_the_last_probe_started():
    world, one = MonitorWorld(), target(1)
    world.watch(one, stored=UP)
    world.run(0.1)
    assert world.monitor.lag == 0.0
    world.monitor.take(world.monitor.wake_at() + 3.0)
    assert world.monitor.lag == pytest.approx(3.0)


def test_new_target_has_no_verdict():
    world, one = MonitorWorld(), target(1)
    assert world.monitor.verdict(one) is None
    world.watch(one)
    assert world.monitor.verdict(one) is None
    assert world.monitor.stored(one) is None


def test_probes_follow_at_the_fast_interval_during_a_streak():
    world, one = MonitorWorld(), target(1, interval=60.0)
    world.watch(one, stored=UP)
    world.failing.add(one)
    world.run(2.1)
    assert world.changes() == [(1, False)]
    assert world.probes[one] == 3
    world.run(600.0)
    assert world.probes[one] in {12, 13, 14}
    world.failing.clear()
    world.run(61.2)
    assert world.changes() == [(1, True)]


def test_timeout_longer_than_the_fast_interval_makes_the_next_probe_follow_at_once():
    world, one = MonitorWorld(), target(1, timeout=30.0)
    world.watch(one, stored=UP)
    for _ in range(3):
        assert world.monitor.take(world.now) == [one]
        world.now += 30.0
        assert world.monitor.take(world.now) == []
        world.finish(one, FAILURE)
    assert world.changes() == [(1, False)]


def test_first_probe_of_a_daily_check_starts_at_once():
    world, one = MonitorWorld(), target(1, interval=86400.0, fast_interval=86400.0)
    world.watch(one)
    world.run(0.02)
    assert world.changes() == [(1, True)]
    assert 0 <= world.monitor.wake_at() - 1000.0 <= 86400.0


def test_watching_a_watched_target_changes_nothing():
    world, one = MonitorWorld(), target(1)
    world.watch(one, stored=UP)
    world.watch(one, stored=DOWN)
    assert len(world.monitor) == 1
    assert world.monitor.verdict(one) == UP.verdict
    assert world.monitor.take(world.now) == [one]
    world.watch(one)
    assert world.monitor.take(world.now + 1.0) == []


def test_results_of_unwatched_targets_are_dropped():
    world, one = MonitorWorld(), target(1)
    assert world.finish(one, SUCCESS) == []
    world.monitor.forget(one)
    assert world.monitor.wake_at() is None
    world.watch(one)
    assert world.finish(one, SUCCESS) == []  # no probe was started
    assert world.monitor.verdict(one) is None


def test_one_probe_has_one_result():
    world, one = MonitorWorld(), target(1)
    world.watch(one, stored=UP)
    world.monitor.take(world.now)
    for _ in range(10):
        assert world.finish(one, FAILURE) == []
    assert world.monitor.verdict(one).up


@pytest.mark.parametrize("references", [False, True])
def test_local_failure_is_not_counted_and_the_probe_is_repeated(references):
    world = MonitorWorld(references=references)
    world.watch(target(1), stored=UP)
    for _ in range(2 * CHECK.fall):
        world.now = world.monitor.wake_at()
        assert world.monitor.take(world.now) == [target(1)]
        world.finish(target(1), ProbeResult(False, "out of file descriptors", 0.0, local=True))
    assert world.transitions == []
    assert world.monitor.verdict(target(1)).up
    world.failing.add(target(1))
    world.run(10)
    assert [transition.streak for transition in world.transitions] == [CHECK.fall]


@pytest.mark.parametrize("references", [False, True])
def test_probe_from_before_the_target_was_forgotten_is_dropped(references):
    world, one = MonitorWorld(references=references), target(1, fall=1)
    world.watch(one, stored=UP)
    assert world.monitor.take(world.now) == [one]
    world.monitor.forget(one)
    world.watch(one, stored=UP)
    world.now += 60.0
    assert world.monitor.take(world.now) == []  # never two probes of a target at once
    world.monitor.forget(one)
    world.watch(one)
    assert world.finish(one, FAILURE) == []
    assert world.monitor.verdict(one) is None
    assert world.monitor.take(world.now) == [one]
    world.finish(one, SUCCESS)
    assert world.changes() == [(1, True)]


def test_forgotten_targets_leave_nothing_behind():
    world = MonitorWorld(references=True)
    targets = [target(number) for number in range(300)]
    world.watch(*targets)
    world.run(20.0)
    world.failing |= set(targets)
    world.references_up = False
    world.run(10.0)
    taken = world.monitor.take(world.now + 3.0)
    for one in targets:
        world.monitor.forget(one)
    for one in taken:
        assert world.finish(one, FAILURE) == []
    monitor = world.monitor
    assert monitor.wake_at() is None
    assert len(monitor) == 0
    assert not monitor._abandoned
    assert not monitor._held
    assert not monitor._outage._buckets
    assert len(monitor._schedule) == 0


def test_target_inherits_the_verdict_but_not_the_streak():
    world, old, new = MonitorWorld(), target(1), target(1, interval=2.0)
    world.watch(old, stored=UP)
    world.failing |= {old, new}
    world.run(1.5)
    assert world.probes[old] == 2
    world.watch(new, inherit_from=old, stored=DOWN)
    world.monitor.forget(old)
    assert world.monitor.stored(new) == UP
    world.run(1.5)
    assert world.changes() == []
    world.run(1.0)
    assert [(one.target, one.streak) for one in world.transitions] == [(new, 3)]


def test_several_targets_inherit_from_one_that_stays():
    world, old = MonitorWorld(), target(1)
    world.watch(old, stored=DOWN)
    heirs = [target(1, interval=interval) for interval in (1.0, 2.0)]
    world.watch(*heirs, inherit_from=old)
    assert [world.monitor.stored(heir) for heir in (old, *heirs)] == [DOWN] * 3
    world.run(6.0)
    assert world.changes() == [(1, True)] * 3


@pytest.mark.parametrize("watched", [False, True])
def test_stored_verdict_is_used_if_there_is_none_to_inherit(watched):
    world, old, new = MonitorWorld(), target(1), target(1, interval=2.0)
    if watched:
        world.watch(old)
    world.watch(new, inherit_from=old, stored=DOWN)
    assert world.monitor.stored(new) == DOWN


@pytest.mark.parametrize("fast", [True, False])
def test_target_whose_probe_cost_much_rests(fast):
    world, one = MonitorWorld(), target(1, interval=1.0, fast_interval=0.5, timeout=1.0)
    world.watch(one, stored=UP)
    [taken] = world.monitor.take(world.monitor.wake_at())
    result = FAILURE if fast else SUCCESS
    world.finish(taken, result._replace(cost=0.25))
    assert world.monitor.wake_at() == pytest.approx(world.now + 5.0)
