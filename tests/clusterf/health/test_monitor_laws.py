"""Laws of the monitor, by random sequences of everything that its owner may do."""

import itertools
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clusterf.config.model import HealthCheck
from clusterf.health.monitor import Monitor
from clusterf.health.verdict import StoredVerdict, Verdict
from tests.clusterf.support.choices import any_of, pick
from tests.clusterf.support.monitor_world import DOWN, FAILURE, SUCCESS, UP, WALL, target
from tests.examples import examples

FIELDS = {
    "interval": (2.0, 5.0, 60.0),
    "timeout": (1.0, 10.0),
    "fast_interval": (1.0, 10.0),
    "jitter": (0.0, 0.1, 1.0),
    "rise": (1, 2, 3),
    "fall": (1, 2, 3),
    "initial": ("up", "down"),
}
# every combination, so that one is drawn at once: drawing values one by one takes most of the time of this test
CHECKS = [HealthCheck(**dict(zip(FIELDS, values, strict=True))) for values in itertools.product(*FIELDS.values())]
TARGETS = [target(number, check) for check in CHECKS for number in range(3)]
STORED = [None, UP, DOWN, StoredVerdict(Verdict(False, 1.0, "refused"), False)]
BOOLEANS = (False, True)
INDEXES = range(8)


class Expected:
    """The expected state of a target: its verdict, and all results that count since the last transition."""

    def __init__(self, stored):
        self.up = stored.verdict.up if stored else None
        self.proven = stored.proven if stored else False
        self.results = []

    def required(self, ok, check):
        if not ok:
            return check.fall
        first = self.up is None or (not self.proven and check.initial == "down")
        return 1 if first else check.rise

    def calls_for(self, ok, check):
        streak = len(list(itertools.takewhile(lambda one: one == ok, reversed(self.results))))
        return ok != self.up and streak >= self.required(ok, check)

    def switch(self, ok):
        self.up, self.proven, self.results = ok, self.proven or ok, []


class Monitoring(RuleBasedStateMachine):
    """Targets that are added, forgotten, inherit, and are probed, with or without references."""

    @initialize(references=st.booleans(), seed=st.integers(0, 1000))
    def begin(self, references, seed):
        self.references = references
        self.monitor = Monitor(references=references, chance=random.Random(seed).random)
        self.now = 1000.0
        self.expected = {}
        # the probes under way, each with the state it was started for (which may be gone) and when
        self.probes = {}
        self.started = {}
        self.thawed_at = 0.0

    @rule(target_and_stored=any_of(TARGETS, STORED), index=st.integers(0, 7))
    def watch(self, target_and_stored, index):
        one, stored = target_and_stored
        inherit_from = pick([None, *self.expected], index)
        self.monitor.watch(one, self.now, inherit_from=inherit_from, stored=stored)
        if one not in self.expected:
            inherited = self.monitor.stored(inherit_from) if inherit_from else None
            self.expected[one] = Expected(inherited or stored)

    @precondition(lambda self: self.expected)
    @rule(index_and_again=any_of(INDEXES, BOOLEANS))
    def forget(self, index_and_again):
        index, again = index_and_again
        one = pick(self.expected, index)
        self.monitor.forget(one)
        del self.expected[one]
        assert self.monitor.verdict(one) is None
        if again:
            self.watch((one, None), index)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0, 100.0]))
    def take(self, seconds):
        self.now += seconds
        taken = self.monitor.take(self.now)
        assert len(set(taken)) == len(taken)
        for one in taken:
            assert one not in self.probes
            self.probes[one], self.started[one] = self.expected[one], self.now

    @precondition(lambda self: self.probes)
    @rule(choice=any_of(BOOLEANS, BOOLEANS, INDEXES))
    def finish(self, choice):
        ok, every, index = choice
        for one in list(self.probes) if every else [pick(self.probes, index)]:
            self.finish_one(one, ok)

    def finish_one(self, one, ok):
        expected, frozen = self.probes.pop(one), self.monitor.frozen
        transitions = self.monitor.finished(one, SUCCESS if ok else FAILURE, self.now, WALL)
        if frozen and not self.monitor.frozen:
            self.thawed_at = self.now
        if self.expected.get(one) is not expected or frozen or (not ok and self.started[one] <= self.thawed_at):
            assert transitions == []
            return
        expected.results.append(ok)
        if expected.calls_for(ok, one.check) and not transitions:
            # only failures are held
            assert self.references
            assert not ok
            assert self.monitor.needs_references
        self.check(transitions, expected)

    def check(self, transitions, *allowed):
        for transition in transitions:
            expected = self.expected[transition.target]
            assert not allowed or expected in allowed
            ok = transition.verdict.up
            assert expected.calls_for(ok, transition.target.check)
            assert transition.result.ok == ok
            assert (transition.before.up if transition.before else None) == expected.up
            expected.switch(ok)

    @precondition(lambda self: self.monitor.needs_references)
    @rule(ok=st.booleans())
    def probe_references(self, ok):
        frozen = self.monitor.frozen
        transitions = self.monitor.references_responded(ok, self.now, WALL)
        if frozen or not ok:
            assert transitions == []
        if ok:
            assert not self.monitor.needs_references
            self.thawed_at = self.now if frozen else self.thawed_at
        elif self.monitor.frozen:
            for expected in self.expected.values():
                expected.results.clear()
        self.check(transitions)
        # a target that was held is down by now, or has to fail as often again
        for one, expected in self.expected.items():
            assert not expected.calls_for(False, one.check)

    @invariant()
    def verdicts_are_as_expected(self):
        for one, expected in getattr(self, "expected", {}).items():
            verdict = self.monitor.verdict(one)
            assert (verdict.up if verdict else None) == expected.up
            stored = self.monitor.stored(one)
            assert (stored is None) == (verdict is None)
            assert stored is None or (stored.verdict, stored.proven) == (verdict, expected.proven or expected.up)

    @invariant()
    def targets_are_due_unless_all_are_being_probed(self):
        if hasattr(self, "expected"):
            assert (self.monitor.wake_at() is None) == (not self.expected.keys() - self.probes.keys())
            if not self.references:
                assert not self.monitor.needs_references


Monitoring.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=50, deadline=None)
TestMonitoring = Monitoring.TestCase
