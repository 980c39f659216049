"""A monitor with references: which failures make it probe them, and what their responses do."""

import time
from collections import Counter

import pytest

from clusterf.health.monitor import Monitor
from clusterf.health.verdict import ProbeResult, Verdict
from tests.clusterf.support.monitor_world import DOWN, FAILURE, SUCCESS, UP, WALL, MonitorWorld, target


def failing_world(*, references_up, count=20, failing=20):
    """Return a world in which `failing` of the targets have just begun to fail."""
    world = MonitorWorld(references=True)
    targets = [target(number) for number in range(count)]
    world.watch(*targets)
    world.run(10.0)
    assert len(world.changes()) == count
    world.failing |= set(targets[:failing])
    world.references_up = references_up
    return world, targets


def test_without_references_all_targets_may_go_down():
    world = MonitorWorld()
    targets = [target(number) for number in range(10)]
    world.watch(*targets)
    world.run(5.0)
    world.failing |= set(targets)
    world.run(10.0)
    assert Counter(up for _, up in world.changes()) == {True: 10, False: 10}
    assert world.reference_probes == 0
    assert world.monitor.references_trusted
    assert not world.monitor.frozen


def test_few_failing_targets_go_down_without_references():
    # enough others are probed between their first failure and the last
    world, _ = failing_world(references_up=False, count=40, failing=4)
    world.run(10.0)
    assert sorted(world.changes()) == [(number, False) for number in range(4)]
    assert world.reference_probes == 0


@pytest.mark.parametrize("restored", [False, True])
def test_targets_that_are_down_already_are_not_counted_as_failing(restored):
    world = MonitorWorld(references=True)
    dead = [target(number, interval=1.0) for number in range(12)]
    alive = [target(number, interval=1.0) for number in range(12, 20)]
    world.watch(*dead, stored=DOWN if restored else UP)
    world.watch(*alive, stored=UP)
    world.failing |= set(dead)
    world.run(10.0)
    assert {number for number, _ in world.changes()} == (set() if restored else set(range(12)))
    world.reference_probes = 0
    world.failing.add(alive[0])
    world.references_up = False
    world.run(10.0)
    assert world.changes() == [(12, False)]
    assert world.reference_probes == 0


def test_most_targets_go_down_if_a_reference_responds():
    world, _ = failing_world(references_up=True)
    world.run(10.0)
    assert sorted(world.changes()) == [(number, False) for number in range(20)]
    assert 1 <= world.reference_probes <= 5
    assert not world.monitor.needs_references


def test_held_target_goes_down_when_a_reference_responds_unless_it_has_passed():
    world, (one, other, *_) = MonitorWorld(references=True), [target(number, fall=1) for number in range(2)]
    world.watch(one, other, stored=UP)
    for due in world.monitor.take(world.now):
        assert world.finish(due, FAILURE) == []
    assert world.monitor.needs_references
    assert world.monitor.verdict(one).up
    world.now += 1.0
    assert world.monitor.take(world.now) == [one, other]
    assert world.finish(one, SUCCESS) == []
    last = ProbeResult(False, "timeout", 2.0)
    assert world.finish(other, last) == []
    verdict = Verdict(False, WALL, "timeout")
    assert world.monitor.references_responded(True, world.now, WALL) == [(other, verdict, UP.verdict, last, 2)]
    assert not world.monitor.needs_references
    assert world.monitor.verdict(one).up


@pytest.mark.parametrize("how", ["forgotten", "passed"])
def test_nothing_freezes_if_no_target_is_held_any_more(how):
    world, one = MonitorWorld(references=True), target(1, fall=1)
    world.watch(one, stored=UP)
    world.monitor.take(world.now)
    world.finish(one, FAILURE)
    assert world.monitor.needs_references
    if how == "forgotten":
        world.monitor.forget(one)
    else:
        world.now += 1.0
        world.monitor.take(world.now)
        world.finish(one, SUCCESS)
    assert not world.monitor.needs_references
    assert world.monitor.references_responded(False, world.now, WALL) == []
    assert not world.monitor.frozen


def test_verdicts_are_frozen_until_a_reference_responds():
    world, targets = failing_world(references_up=False)
    world.run(60.0)
    assert world.changes() == []
    assert world.monitor.frozen
    assert 50 <= world.reference_probes <= 60
    world.probes.clear()
    world.run(20.0)
    assert all(3 <= world.probes[one] <= 5 for one in targets)  # no streak, so no fast interval
    world.references_up = True
    world.run(1.0)
    assert not world.monitor.frozen
    assert world.changes() == []
    world.run(10.0)
    assert len(world.changes()) == 20


def test_streaks_start_again_after_a_freeze():
    world, targets = failing_world(references_up=False)
    world.run(10.0)
    assert world.monitor.frozen
    world.references_up = True
    world.run(1.0)
    assert not world.monitor.frozen
    world.failing.clear()
    world.run(60.0)
    assert world.changes() == []
    assert all(world.monitor.verdict(one).up for one in targets)


def test_success_before_a_freeze_is_not_part_of_a_streak_after_it():
    world, down, one = MonitorWorld(references=True), target(1), target(2, fall=1)
    world.watch(down, stored=DOWN)
    world.watch(one, stored=UP)
    world.now += 0.5
    assert len(world.monitor.take(world.now)) == 2
    world.finish(down, SUCCESS)
    world.finish(one, FAILURE)
    world.monitor.references_responded(False, world.now, WALL)
    world.monitor.references_responded(True, world.now + 0.5, WALL)
    world.now += 1.0
    assert world.monitor.take(world.monitor.wake_at() + 5.0)
    assert world.finish(down, SUCCESS) == []


def test_failure_of_a_probe_that_started_before_the_thaw_is_dropped():
    world, one = MonitorWorld(references=True), target(1, fall=1)
    world.watch(one, stored=UP)
    world.monitor.take(world.now)
    world.finish(one, FAILURE)
    world.monitor.references_responded(False, world.now, WALL)
    world.now = world.monitor.wake_at()
    assert world.monitor.take(world.now) == [one]
    world.monitor.references_responded(True, world.now + 0.5, WALL)
    world.now += 0.9
    assert world.finish(one, FAILURE) == []
    assert not world.monitor.needs_references
    world.now = world.monitor.wake_at()
    assert world.monitor.take(world.now) == [one]
    world.finish(one, FAILURE)
    assert world.monitor.needs_references


def test_passing_targets_end_a_freeze_and_dead_references_are_not_trusted():
    world, _ = failing_world(references_up=False, count=3, failing=3)
    world.run(10.0)
    assert world.monitor.frozen
    world.failing = {target(0)}
    world.run(10.0)
    assert not world.monitor.frozen
    assert not world.monitor.references_trusted
    assert world.monitor.needs_references
    world.run(10.0)
    assert world.changes() == [(0, False)]
    world.references_up = True
    world.run(1.0)
    assert world.monitor.references_trusted
    assert not world.monitor.needs_references


def test_freeze_lasts_while_fewer_targets_pass_than_fail():
    world, targets = failing_world(references_up=False, count=5, failing=5)
    world.run(10.0)
    assert world.monitor.frozen
    world.failing.discard(targets[0])
    world.run(20.0)
    assert world.monitor.frozen
    assert world.monitor.references_trusted


def test_failure_of_a_probe_that_started_at_the_moment_of_the_thaw_is_dropped():
    world, one = MonitorWorld(references=True), target(1, fall=1)
    world.watch(one, stored=UP)
    world.monitor.take(world.now)
    world.finish(one, FAILURE)
    world.monitor.references_responded(False, world.now, WALL)
    world.now = world.monitor.wake_at()
    assert world.monitor.take(world.now) == [one]
    world.monitor.references_responded(True, world.now, WALL)
    assert world.finish(one, FAILURE) == []
    assert not world.monitor.needs_references


def test_recovering_target_comes_up_although_another_keeps_failing():
    """Of two targets without responding references, one was down when the other failed too."""
    world, one, other = MonitorWorld(references=True), target(1), target(2)
    world.watch(one, stored=DOWN)
    world.watch(other, stored=UP)
    world.failing |= {one, other}
    world.references_up = False
    world.run(10.0)
    assert world.monitor.frozen
    world.failing.discard(one)
    world.run(20.0)
    assert world.changes() == [(1, True), (2, False)]


def test_target_without_a_verdict_is_held_too():
    world = MonitorWorld(references=True)
    world.watch(*(target(number) for number in range(5)))
    world.failing |= {target(number) for number in range(5)}
    world.references_up = False
    world.run(20.0)
    assert world.monitor.frozen
    assert world.changes() == []


@pytest.mark.parametrize("references", [False, True])
def test_ten_thousand_targets_that_fail_at_once_take_little_time(references):
    monitor = Monitor(references=references)
    targets = [target(number, interval=2.0, fall=2) for number in range(10_000)]
    for one in targets:
        monitor.watch(one, 1000.0, stored=UP)
    started = time.process_time()
    now, down = 1000.0, 0
    while down < len(targets):
        now += 0.01
        for one in monitor.take(now):
            down += len(monitor.finished(one, FAILURE, now, WALL))
        if monitor.needs_references:
            down += len(monitor.references_responded(True, now, WALL))
        assert now < 1060.0
    # about 0.2 s; some ten if each result took time in proportion to the number of targets
    assert time.process_time() - started < 3.0
