from itertools import takewhile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from clusterf.config.model import HealthCheck
from clusterf.health.verdict import ProbeResult, RiseFall, StoredVerdict, Verdict

UP = StoredVerdict(Verdict(True, 1.0), True)
DOWN = StoredVerdict(Verdict(False, 1.0, "refused"), True)
NEVER_UP = StoredVerdict(Verdict(False, 1.0, "refused"), False)

GOOD, BAD = ProbeResult(True, "", 0.001), ProbeResult(False, "timeout", 2.0)


def play(health, outcomes):
    """Let the health hear `+` for each success and `-` for each failure; return the verdicts so far, as text."""
    said = ""
    for wall, outcome in enumerate(outcomes, start=100):
        if health.count(outcome == "+"):
            health.switch(GOOD if outcome == "+" else BAD, wall)
        said += {None: "?", True: "u", False: "d"}[health.up]
    return said


@pytest.mark.parametrize(
    ("initial", "stored", "outcomes", "verdicts"),
    [
        # without a verdict: the first success, or `fall` failures in a row
        ("down", None, "+", "u"),
        ("up", None, "+", "u"),
        ("down", None, "---", "??d"),
        ("up", None, "---", "??d"),
        ("down", None, "--+--", "??uuu"),
        # one failure more or less is not enough, and a success breaks the row
        ("down", UP, "--+--+---", "uuuuuuuud"),
        # nor one success, and a failure breaks that row
        ("down", DOWN, "+-+-++", "dddddu"),
        # the first success is enough for one that has never been up, if new ones are taken for down
        ("down", NEVER_UP, "-+", "du"),
        ("up", NEVER_UP, "+-++", "dddu"),
        ("down", None, "---+---++", "??duuuddu"),
    ],
)
def test_a_verdict_takes_so_many_in_a_row(initial, stored, outcomes, verdicts):
    assert play(RiseFall(HealthCheck(rise=2, fall=3, initial=initial), stored), outcomes) == verdicts


def test_once_up_the_first_success_is_no_longer_enough():
    assert play(RiseFall(HealthCheck(rise=2, fall=1)), "-+-++") == "dudd" + "u"


def test_a_row_goes_on_to_call_for_the_turn_until_it_is_made():
    health = RiseFall(HealthCheck(fall=2), UP)
    assert [health.count(False) for _ in range(4)] == [False, True, True, True]
    assert health.streak == 4
    assert health.up
    assert not health.count(True)
    assert health.streak == 0


def test_a_verdict_has_the_time_and_the_reason_of_its_last_outcome():
    health = RiseFall(HealthCheck(fall=1), UP)
    assert health.verdict == UP.verdict
    health.count(False)
    assert health.switch(BAD, 1234.5) == health.verdict == Verdict(False, 1234.5, "timeout")


def test_a_forgotten_count_begins_anew():
    health = RiseFall(HealthCheck(fall=2), UP)
    health.count(False)
    health.reset_streak()
    assert not health.count(False)
    assert health.count(False)


@pytest.mark.parametrize("stored", [UP, DOWN, NEVER_UP])
def test_a_stored_is_kept_as_it_is(stored):
    assert RiseFall(HealthCheck(), stored).stored == stored


def test_without_a_verdict_there_is_nothing_to_keep():
    health = RiseFall(HealthCheck())
    health.count(False)
    assert health.stored is None


def test_one_that_is_remembered_as_up_has_been_up():
    health = RiseFall(HealthCheck(fall=1, rise=2), StoredVerdict(Verdict(True, 1.0), False))
    assert play(health, "-+") == "dd"
    assert health.stored is not None
    assert health.stored.proven


checks = st.builds(HealthCheck, rise=st.integers(1, 4), fall=st.integers(1, 4), initial=st.sampled_from(["up", "down"]))


class Living(RuleBasedStateMachine):
    """A target over its life, next to one that keeps all that it has heard and counts from behind."""

    @initialize(check=checks)
    def begin(self, check):
        self.check, self.health = check, RiseFall(check)
        self.up, self.proven, self.row = None, False, []

    @rule(ok=st.booleans())
    def hear(self, ok):
        self.row.append(ok)
        alike = len(list(takewhile(lambda one: one == ok, reversed(self.row))))
        turned = ok != self.up and alike >= self.needed(ok)
        assert self.health.count(ok) == turned
        if turned:
            assert self.health.streak == alike or (ok and self.up is None)
            self.health.switch(GOOD if ok else BAD, 1.0)
            self.up, self.proven, self.row = ok, self.proven or ok, []

    def needed(self, ok):
        if not ok:
            return self.check.fall
        first = self.up is None or (not self.proven and self.check.initial == "down")
        return 1 if first else self.check.rise

    @rule(check=checks)
    def change_the_check_or_restart(self, check):
        self.check, self.health = check, RiseFall(check, self.health.stored)
        self.row = []

    @invariant()
    def alike(self):
        assert self.health.up == self.up
        assert (self.health.verdict is None) == (self.up is None)
        against = bool(self.row) and self.row[-1] != self.up
        assert (self.health.streak > 0) == against


Living.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLiving = Living.TestCase
