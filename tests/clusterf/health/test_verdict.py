from itertools import product, takewhile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from clusterf.config.model import HealthCheck
from clusterf.health.verdict import ProbeResult, RiseFall, StoredVerdict, Verdict
from tests.examples import examples

UP = StoredVerdict(Verdict(True, 1.0), True)
DOWN = StoredVerdict(Verdict(False, 1.0, "refused"), True)
NEVER_UP = StoredVerdict(Verdict(False, 1.0, "refused"), False)

SUCCESS, FAILURE = ProbeResult(True, "", 0.001), ProbeResult(False, "timeout", 2.0)


def play(health, results):
    """Count `+` as a success and `-` as a failure; return the verdict after each: `u`p, `d`own or `?`."""
    verdicts = ""
    for wall, result in enumerate(results, start=100):
        if health.count(result == "+"):
            health.switch(SUCCESS if result == "+" else FAILURE, wall)
        verdicts += {None: "?", True: "u", False: "d"}[health.up]
    return verdicts


@pytest.mark.parametrize(
    ("initial", "stored", "results", "verdicts"),
    [
        # without a verdict: the first success, or `fall` failures in a row
        ("down", None, "+", "u"),
        ("up", None, "+", "u"),
        ("down", None, "---", "??d"),
        ("up", None, "---", "??d"),
        ("down", None, "--+--", "??uuu"),
        # fewer failures are not enough, and a success ends their streak
        ("down", UP, "--+--+---", "uuuuuuuud"),
        # nor is one success, and a failure ends its streak
        ("down", DOWN, "+-+-++", "dddddu"),
        # one success is enough for a target that has never been up, if `initial` is down
        ("down", NEVER_UP, "-+", "du"),
        ("up", NEVER_UP, "+-++", "dddu"),
        ("down", None, "---+---++", "??duuuddu"),
    ],
)
def test_verdict_switches_after_rise_or_fall_results_in_a_row(initial, stored, results, verdicts):
    assert play(RiseFall(HealthCheck(rise=2, fall=3, initial=initial), stored), results) == verdicts


def test_rise_applies_once_a_target_has_been_up():
    assert play(RiseFall(HealthCheck(rise=2, fall=1)), "-+-++") == "dudd" + "u"


def test_count_asks_for_the_switch_until_it_is_made():
    health = RiseFall(HealthCheck(fall=2), UP)
    assert [health.count(False) for _ in range(4)] == [False, True, True, True]
    assert health.streak == 4
    assert health.up
    assert not health.count(True)
    assert health.streak == 0


def test_verdict_has_the_time_and_the_reason_of_the_last_result():
    health = RiseFall(HealthCheck(fall=1), UP)
    assert health.verdict == UP.verdict
    health.count(False)
    assert health.switch(FAILURE, 1234.5) == health.verdict == Verdict(False, 1234.5, "timeout")


def test_reset_streak_starts_from_zero():
    health = RiseFall(HealthCheck(fall=2), UP)
    health.count(False)
    health.reset_streak()
    assert not health.count(False)
    assert health.count(False)


@pytest.mark.parametrize("stored", [UP, DOWN, NEVER_UP])
def test_stored_verdict_is_kept_unchanged(stored):
    assert RiseFall(HealthCheck(), stored).stored == stored


def test_nothing_is_stored_without_a_verdict():
    health = RiseFall(HealthCheck())
    health.count(False)
    assert health.stored is None


def test_target_that_was_stored_as_up_counts_as_proven():
    health = RiseFall(HealthCheck(fall=1, rise=2), StoredVerdict(Verdict(True, 1.0), False))
    assert play(health, "-+") == "dd"
    assert health.stored is not None
    assert health.stored.proven


CHECKS = [
    HealthCheck(rise=rise, fall=fall, initial=initial)
    for rise, fall, initial in product(range(1, 5), range(1, 5), ("up", "down"))
]
checks = st.sampled_from(CHECKS)


class Counting(RuleBasedStateMachine):
    """A RiseFall next to a model that keeps all results and counts those at the end."""

    @initialize(check=checks)
    def begin(self, check):
        self.check, self.health = check, RiseFall(check)
        self.up, self.proven, self.results = None, False, []

    @rule(ok=st.booleans())
    def count(self, ok):
        self.results.append(ok)
        streak = len(list(takewhile(lambda one: one == ok, reversed(self.results))))
        switches = ok != self.up and streak >= self.required(ok)
        assert self.health.count(ok) == switches
        if switches:
            assert self.health.streak == streak or (ok and self.up is None)
            self.health.switch(SUCCESS if ok else FAILURE, 1.0)
            self.up, self.proven, self.results = ok, self.proven or ok, []

    def required(self, ok):
        if not ok:
            return self.check.fall
        first = self.up is None or (not self.proven and self.check.initial == "down")
        return 1 if first else self.check.rise

    @rule(check=checks)
    def change_check_or_restart(self, check):
        self.check, self.health = check, RiseFall(check, self.health.stored)
        self.results = []

    @invariant()
    def state_is_that_of_the_model(self):
        assert self.health.up == self.up
        assert (self.health.verdict is None) == (self.up is None)
        against = bool(self.results) and self.results[-1] != self.up
        assert (self.health.streak > 0) == against


Counting.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)
TestCounting = Counting.TestCase
