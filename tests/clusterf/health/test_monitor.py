import random
import time
from collections import Counter
from itertools import takewhile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clusterf.config.model import HealthCheck
from clusterf.health.monitor import Monitor
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult, StoredVerdict, Verdict
from clusterf.lib.addresses import Endpoint

WALL = 1_700_000_000.0
GOOD, BAD = ProbeResult(True, "", 0.001), ProbeResult(False, "refused", 0.001)
CHECK = HealthCheck(type="tcp", interval=5.0, fast_interval=1.0, timeout=2.0, rise=2, fall=3, jitter=0.0)
UP, DOWN = StoredVerdict(Verdict(True, 1.0), True), StoredVerdict(Verdict(False, 1.0, "refused"), True)


def target(number, check=CHECK, **changes):
    fields = {field: getattr(check, field) for field in check.__struct_fields__}
    return Target(Endpoint(number.to_bytes(4, "big"), 80), HealthCheck(**fields | changes))


class World:
    """A monitor, a clock, and backends that fail or do not."""

    def __init__(self, *, references=False):
        self.monitor = Monitor(references=references, chance=random.Random(7).random)
        self.now = 1000.0
        self.failing = set()
        self.probes = Counter()
        self.transitions = []
        # whether the references answer, which are asked again after a second; how often they were
        self.answer = True
        self.asked_at = -10.0
        self.asked = 0

    def watch(self, *targets, **more):
        for one in targets:
            self.monitor.watch(one, self.now, **more)

    def finish(self, one, outcome):
        said = self.monitor.finished(one, outcome, self.now, WALL + self.now)
        self.transitions += said
        return said

    def run(self, seconds):
        """Let time pass in steps of a hundredth of a second."""
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            for one in self.monitor.take(self.now):
                self.probes[one] += 1
                self.finish(one, BAD if one in self.failing else GOOD)
            if self.monitor.needs_references and self.now - self.asked_at >= 1.0:
                self.asked_at = self.now
                self.asked += 1
                self.transitions += self.monitor.references_responded(self.answer, self.now, WALL + self.now)

    def told(self):
        """Return what was said since the last call: the number of the target, and whether it is up."""
        said, self.transitions = self.transitions, []
        return [(int.from_bytes(one.target.endpoint.packed, "big"), one.verdict.up) for one in said]


def test_a_transition_says_all_about_it():
    world, one = World(), target(1)
    world.watch(one, stored=UP)
    for count in range(3):
        world.now = max(world.now, world.monitor.wake_at())
        assert world.monitor.take(world.now) == [one]
        said = world.finish(one, BAD)
        assert bool(said) == (count == 2)
    verdict = Verdict(False, WALL + world.now, "refused")
    assert said == [(one, verdict, UP.verdict, BAD, 3)]
    assert world.monitor.verdict(one) == verdict
    assert world.monitor.stored(one) == StoredVerdict(verdict, True)


def test_without_a_verdict_there_is_none_to_tell():
    world, one = World(), target(1)
    assert world.monitor.verdict(one) is None
    world.watch(one)
    assert world.monitor.verdict(one) is None
    assert world.monitor.stored(one) is None


def test_probes_follow_faster_while_a_count_runs():
    world, one = World(), target(1, interval=60.0)
    world.watch(one, stored=UP)
    world.failing.add(one)
    world.run(2.1)
    assert world.told() == [(1, False)]
    assert world.probes[one] == 3
    world.run(600.0)
    assert world.probes[one] in {12, 13, 14}
    world.failing.clear()
    world.run(61.2)
    assert world.told() == [(1, True)]


def test_one_whose_timeout_is_longer_than_the_fast_interval_is_probed_at_once_again():
    world, one = World(), target(1, timeout=30.0)
    world.watch(one, stored=UP)
    for _ in range(3):
        assert world.monitor.take(world.now) == [one]
        world.now += 30.0
        assert world.monitor.take(world.now) == []
        world.finish(one, BAD)
    assert world.told() == [(1, False)]


def test_a_check_once_a_day_begins_now():
    world, one = World(), target(1, interval=86400.0, fast_interval=86400.0)
    world.watch(one)
    world.run(0.02)
    assert world.told() == [(1, True)]
    assert 0 <= world.monitor.wake_at() - 1000.0 <= 86400.0


def test_what_is_watched_already_goes_on_as_it_is():
    world, one = World(), target(1)
    world.watch(one, stored=UP)
    world.watch(one, stored=DOWN)
    assert world.monitor.verdict(one) == UP.verdict
    assert world.monitor.take(world.now) == [one]
    world.watch(one)
    assert world.monitor.take(world.now + 1.0) == []


def test_unknown_targets_are_fine():
    world, one = World(), target(1)
    assert world.finish(one, GOOD) == []
    world.monitor.forget(one)
    assert world.monitor.wake_at() is None
    world.watch(one)
    assert world.finish(one, GOOD) == []  # nobody has started a probe
    assert world.monitor.verdict(one) is None


def test_a_probe_counts_once():
    world, one = World(), target(1)
    world.watch(one, stored=UP)
    world.monitor.take(world.now)
    for _ in range(10):
        assert world.finish(one, BAD) == []
    assert world.monitor.verdict(one).up


@pytest.mark.parametrize("references", [False, True])
def test_a_probe_that_could_not_be_made_says_nothing_and_is_made_again(references):
    world = World(references=references)
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
def test_a_probe_from_before_it_was_forgotten_does_no_harm(references):
    world, one = World(references=references), target(1, fall=1)
    world.watch(one, stored=UP)
    assert world.monitor.take(world.now) == [one]
    world.monitor.forget(one)
    world.watch(one, stored=UP)
    world.now += 60.0
    assert world.monitor.take(world.now) == []  # never two at once
    world.monitor.forget(one)
    world.watch(one)
    assert world.finish(one, BAD) == []
    assert world.monitor.verdict(one) is None
    assert world.monitor.take(world.now) == [one]
    world.finish(one, GOOD)
    assert world.told() == [(1, True)]


def test_what_is_forgotten_leaves_nothing_behind():
    world = World(references=True)
    targets = [target(number) for number in range(300)]
    world.watch(*targets)
    world.run(20.0)
    world.failing |= set(targets)
    world.answer = False
    world.run(10.0)
    taken = world.monitor.take(world.now + 3.0)
    for one in targets:
        world.monitor.forget(one)
    for one in taken:
        assert world.finish(one, BAD) == []
    monitor = world.monitor
    assert monitor.wake_at() is None
    assert not monitor._watched
    assert not monitor._abandoned
    assert not monitor._held
    assert not monitor._outage._buckets
    assert len(monitor._schedule) == 0


def test_an_heir_has_the_verdict_and_counts_anew():
    world, old, new = World(), target(1), target(1, interval=2.0)
    world.watch(old, stored=UP)
    world.failing |= {old, new}
    world.run(1.5)
    assert world.probes[old] == 2
    world.watch(new, inherit_from=old, stored=DOWN)
    world.monitor.forget(old)
    assert world.monitor.stored(new) == UP
    world.run(1.5)
    assert world.told() == []
    world.run(1.0)
    assert [(one.target, one.streak) for one in world.transitions] == [(new, 3)]


def test_one_may_have_several_heirs_and_live_on():
    world, old = World(), target(1)
    world.watch(old, stored=DOWN)
    heirs = [target(1, interval=interval) for interval in (1.0, 2.0)]
    world.watch(*heirs, inherit_from=old)
    assert [world.monitor.stored(heir) for heir in (old, *heirs)] == [DOWN] * 3
    world.run(6.0)
    assert world.told() == [(1, True)] * 3


@pytest.mark.parametrize("known", [False, True])
def test_an_heir_of_what_has_no_verdict_has_its_own_memory(known):
    world, old, new = World(), target(1), target(1, interval=2.0)
    if known:
        world.watch(old)
    world.watch(new, inherit_from=old, stored=DOWN)
    assert world.monitor.stored(new) == DOWN


def test_without_references_nothing_is_questioned():
    world = World()
    targets = [target(number) for number in range(10)]
    world.watch(*targets)
    world.run(5.0)
    world.failing |= set(targets)
    world.run(10.0)
    assert Counter(up for _, up in world.told()) == {True: 10, False: 10}
    assert world.asked == 0
    assert world.monitor.references_trusted
    assert not world.monitor.frozen


def mass(references_answer, count=20, failing=20):
    """Return a world in which most targets have just begun to fail."""
    world = World(references=True)
    targets = [target(number) for number in range(count)]
    world.watch(*targets)
    world.run(10.0)
    assert len(world.told()) == count
    world.failing |= set(targets[:failing])
    world.answer = references_answer
    return world, targets


def test_few_go_down_without_a_question():
    # the others are probed often enough that some are in between
    world, _ = mass(False, count=40, failing=4)
    world.run(10.0)
    assert sorted(world.told()) == [(number, False) for number in range(4)]
    assert world.asked == 0


@pytest.mark.parametrize("remembered", [False, True])
def test_those_that_are_down_anyhow_raise_no_question(remembered):
    world = World(references=True)
    dead = [target(number, interval=1.0) for number in range(12)]
    alive = [target(number, interval=1.0) for number in range(12, 20)]
    world.watch(*dead, stored=DOWN if remembered else UP)
    world.watch(*alive, stored=UP)
    world.failing |= set(dead)
    world.run(10.0)
    assert {number for number, _ in world.told()} == (set() if remembered else set(range(12)))
    world.asked = 0
    world.failing.add(alive[0])
    world.answer = False
    world.run(10.0)
    assert world.told() == [(12, False)]
    assert world.asked == 0


def test_when_most_fail_and_a_reference_answers_they_go_down():
    world, _ = mass(True)
    world.run(10.0)
    assert sorted(world.told()) == [(number, False) for number in range(20)]
    assert 1 <= world.asked <= 5
    assert not world.monitor.needs_references


def test_what_is_held_goes_with_the_answer_unless_it_has_succeeded():
    world, (one, other, *_) = World(references=True), [target(number, fall=1) for number in range(2)]
    world.watch(one, other, stored=UP)
    for probed in world.monitor.take(world.now):
        assert world.finish(probed, BAD) == []
    assert world.monitor.needs_references
    assert world.monitor.verdict(one).up
    world.now += 1.0
    assert world.monitor.take(world.now) == [one, other]
    assert world.finish(one, GOOD) == []
    last = ProbeResult(False, "timeout", 2.0)
    assert world.finish(other, last) == []
    verdict = Verdict(False, WALL, "timeout")
    assert world.monitor.references_responded(True, world.now, WALL) == [(other, verdict, UP.verdict, last, 2)]
    assert not world.monitor.needs_references
    assert world.monitor.verdict(one).up


@pytest.mark.parametrize("how", ["forgotten", "succeeded"])
def test_a_question_that_concerns_nobody_any_more_freezes_nothing(how):
    world, one = World(references=True), target(1, fall=1)
    world.watch(one, stored=UP)
    world.monitor.take(world.now)
    world.finish(one, BAD)
    assert world.monitor.needs_references
    if how == "forgotten":
        world.monitor.forget(one)
    else:
        world.now += 1.0
        world.monitor.take(world.now)
        world.finish(one, GOOD)
    assert not world.monitor.needs_references
    assert world.monitor.references_responded(False, world.now, WALL) == []
    assert not world.monitor.frozen


def test_when_no_reference_answers_either_nothing_changes_until_one_does():
    world, targets = mass(False)
    world.run(60.0)
    assert world.told() == []
    assert world.monitor.frozen
    assert 50 <= world.asked <= 60
    world.probes.clear()
    world.run(20.0)
    assert all(3 <= world.probes[one] <= 5 for one in targets)  # there is no count that would make it fast
    world.answer = True
    world.run(1.0)
    assert not world.monitor.frozen
    assert world.told() == []
    world.run(10.0)
    assert len(world.told()) == 20


def test_after_a_freeze_targets_count_anew():
    world, targets = mass(False)
    world.run(10.0)
    assert world.monitor.frozen
    world.answer = True
    world.run(1.0)
    assert not world.monitor.frozen
    world.failing.clear()
    world.run(60.0)
    assert world.told() == []
    assert all(world.monitor.verdict(one).up for one in targets)


def test_a_success_before_a_freeze_does_not_count_after_it():
    world, down, one = World(references=True), target(1), target(2, fall=1)
    world.watch(down, stored=DOWN)
    world.watch(one, stored=UP)
    world.now += 0.5
    assert len(world.monitor.take(world.now)) == 2
    world.finish(down, GOOD)
    world.finish(one, BAD)
    world.monitor.references_responded(False, world.now, WALL)
    world.monitor.references_responded(True, world.now + 0.5, WALL)
    world.now += 1.0
    assert world.monitor.take(world.monitor.wake_at() + 5.0)
    assert world.finish(down, GOOD) == []


def test_a_probe_from_before_the_thaw_says_nothing():
    world, one = World(references=True), target(1, fall=1)
    world.watch(one, stored=UP)
    world.monitor.take(world.now)
    world.finish(one, BAD)
    world.monitor.references_responded(False, world.now, WALL)
    world.now = world.monitor.wake_at()
    assert world.monitor.take(world.now) == [one]
    world.monitor.references_responded(True, world.now + 0.5, WALL)
    world.now += 0.9
    assert world.finish(one, BAD) == []
    assert not world.monitor.needs_references
    world.now = world.monitor.wake_at()
    assert world.monitor.take(world.now) == [one]
    world.finish(one, BAD)
    assert world.monitor.needs_references


def test_most_targets_end_a_freeze_and_dead_references_do_not_keep_one_up_for_ever():
    world, _ = mass(False, count=3, failing=3)
    world.run(10.0)
    assert world.monitor.frozen
    world.failing = {target(0)}
    world.run(10.0)
    assert not world.monitor.frozen
    assert not world.monitor.references_trusted
    assert world.monitor.needs_references
    world.run(10.0)
    assert world.told() == [(0, False)]
    world.answer = True
    world.run(1.0)
    assert world.monitor.references_trusted
    assert not world.monitor.needs_references


def test_what_comes_back_is_not_kept_down_by_one_that_does_not():
    """Without references that answer, of two targets one was down when the other failed too."""
    world, one, other = World(references=True), target(1), target(2)
    world.watch(one, stored=DOWN)
    world.watch(other, stored=UP)
    world.failing |= {one, other}
    world.answer = False
    world.run(10.0)
    assert world.monitor.frozen
    world.failing.discard(one)
    world.run(20.0)
    assert world.told() == [(1, True), (2, False)]


def test_what_has_no_verdict_is_held_too():
    world = World(references=True)
    world.watch(*(target(number) for number in range(5)))
    world.failing |= {target(number) for number in range(5)}
    world.answer = False
    world.run(20.0)
    assert world.monitor.frozen
    assert world.told() == []


@pytest.mark.parametrize("references", [False, True])
def test_thousands_that_fail_at_once_stay_cheap(references):
    monitor = Monitor(references=references)
    targets = [target(number, interval=2.0, fall=2) for number in range(10_000)]
    for one in targets:
        monitor.watch(one, 1000.0, stored=UP)
    begun = time.process_time()
    now, down = 1000.0, 0
    while down < len(targets):
        now += 0.01
        for one in monitor.take(now):
            down += len(monitor.finished(one, BAD, now, WALL))
        if monitor.needs_references:
            down += len(monitor.references_responded(True, now, WALL))
        assert now < 1060.0
    # about 0.2 s; if each looked at all the others, some ten
    assert time.process_time() - begun < 3.0


ENDPOINTS = range(3)
checks = st.builds(
    HealthCheck,
    interval=st.sampled_from([2.0, 5.0, 60.0]),
    timeout=st.sampled_from([1.0, 10.0]),
    fast_interval=st.sampled_from([1.0, 10.0]),
    jitter=st.sampled_from([0.0, 0.1, 1.0]),
    rise=st.integers(1, 3),
    fall=st.integers(1, 3),
    initial=st.sampled_from(["up", "down"]),
)
some_targets = st.builds(target, st.integers(0, 2), checks)
memories = st.none() | st.sampled_from([UP, DOWN, StoredVerdict(Verdict(False, 1.0, "refused"), False)])


class Life:
    """What should be known of a target: its verdict, and all outcomes that count since."""

    def __init__(self, memory):
        self.up = memory.verdict.up if memory else None
        self.proven = memory.proven if memory else False
        self.results = []

    def needed(self, ok, check):
        if not ok:
            return check.fall
        first = self.up is None or (not self.proven and check.initial == "down")
        return 1 if first else check.rise

    def calls_for(self, ok, check):
        alike = len(list(takewhile(lambda one: one == ok, reversed(self.results))))
        return ok != self.up and alike >= self.needed(ok, check)

    def turn(self, ok):
        self.up, self.proven, self.results = ok, self.proven or ok, []


class Monitoring(RuleBasedStateMachine):
    """Targets that come, go, are heirs, are probed and fail, with or without references."""

    @initialize(references=st.booleans(), seed=st.integers(0, 1000))
    def begin(self, references, seed):
        self.references = references
        self.monitor = Monitor(references=references, chance=random.Random(seed).random)
        self.now = 1000.0
        self.lives = {}
        # the probes that are under way, with what they are for: a life that may be over
        self.probes = {}
        self.thawed_at = 0.0
        # of each probe that is under way, when it was started
        self.started = {}

    @rule(one=some_targets, stored=memories, data=st.data())
    def watch(self, one, stored, data):
        heir_of = data.draw(st.sampled_from([None, *self.lives]))
        self.monitor.watch(one, self.now, inherit_from=heir_of, stored=stored)
        if one not in self.lives:
            inherited = self.monitor.stored(heir_of) if heir_of else None
            self.lives[one] = Life(inherited or stored)

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), again=st.booleans())
    def forget(self, data, again):
        one = data.draw(st.sampled_from(list(self.lives)))
        self.monitor.forget(one)
        del self.lives[one]
        assert self.monitor.verdict(one) is None
        if again:
            self.watch(one, None, data)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0, 100.0]))
    def take(self, seconds):
        self.now += seconds
        taken = self.monitor.take(self.now)
        assert len(set(taken)) == len(taken)
        for one in taken:
            assert one not in self.probes
            self.probes[one], self.started[one] = self.lives[one], self.now

    @precondition(lambda self: self.probes)
    @rule(data=st.data(), ok=st.booleans(), every=st.booleans())
    def finish(self, data, ok, every):
        for one in list(self.probes) if every else [data.draw(st.sampled_from(list(self.probes)))]:
            self.hear(one, ok)

    def hear(self, one, ok):
        life, frozen = self.probes.pop(one), self.monitor.frozen
        outcome = GOOD if ok else BAD
        said = self.monitor.finished(one, outcome, self.now, WALL)
        if frozen and not self.monitor.frozen:
            self.thawed_at = self.now
        if self.lives.get(one) is not life or frozen or (not ok and self.started[one] <= self.thawed_at):
            assert said == []
            return
        life.results.append(ok)
        if life.calls_for(ok, one.check) and not said:
            # only failures are doubted
            assert self.references
            assert not ok
            assert self.monitor.needs_references
        self.check(said, life)

    def check(self, said, *expected):
        for transition in said:
            life = self.lives[transition.target]
            assert not expected or life in expected
            ok = transition.verdict.up
            assert life.calls_for(ok, transition.target.check)
            assert transition.result.ok == ok
            assert (transition.before.up if transition.before else None) == life.up
            life.turn(ok)

    @precondition(lambda self: self.monitor.needs_references)
    @rule(ok=st.booleans())
    def answer(self, ok):
        frozen = self.monitor.frozen
        said = self.monitor.references_responded(ok, self.now, WALL)
        if frozen or not ok:
            assert said == []
        if ok:
            assert not self.monitor.needs_references
            self.thawed_at = self.now if frozen else self.thawed_at
        elif self.monitor.frozen:
            for life in self.lives.values():
                life.results.clear()
        self.check(said)
        # what was held is gone now, or will have to fail as often again
        for one, life in self.lives.items():
            assert not life.calls_for(False, one.check)

    @invariant()
    def verdicts_are_as_they_should_be(self):
        for one, life in getattr(self, "lives", {}).items():
            verdict = self.monitor.verdict(one)
            assert (verdict.up if verdict else None) == life.up
            memory = self.monitor.stored(one)
            assert (memory is None) == (verdict is None)
            assert memory is None or (memory.verdict, memory.proven) == (verdict, life.proven or life.up)

    @invariant()
    def whatever_is_not_under_way_will_be_taken(self):
        if hasattr(self, "lives"):
            assert (self.monitor.wake_at() is None) == (not self.lives.keys() - self.probes.keys())
            if not self.references:
                assert not self.monitor.needs_references


Monitoring.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestMonitoring = Monitoring.TestCase
