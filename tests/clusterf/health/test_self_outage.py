import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clusterf.health.self_outage import GRAINS, VALID, Observation, OutageDetector


def doubt_of(count):
    doubt, witnesses = OutageDetector(), [Observation(down=False) for _ in range(count)]
    for witness in witnesses:
        doubt.admit(witness)
    return doubt, witnesses


def fail_since(doubt, witness, since, now):
    witness.failing_since = since
    doubt.heard(witness, False, now)


@pytest.mark.parametrize(
    ("failing", "succeeding", "suspected"), [(1, 0, True), (1, 1, False), (2, 1, True), (5, 5, False), (6, 5, True)]
)
def test_most_have_to_fail(failing, succeeding, suspected):
    doubt, witnesses = doubt_of(failing + succeeding)
    for witness in witnesses[:failing]:
        fail_since(doubt, witness, 10.0, 12.0)
    for witness in witnesses[failing:]:
        doubt.heard(witness, True, 11.0)
    assert doubt.suspects(witnesses[0], 12.0) == suspected


def test_what_was_told_before_the_first_failure_tells_nothing():
    doubt, witnesses = doubt_of(10)
    for witness in witnesses[1:]:
        doubt.heard(witness, True, 9.9)
    fail_since(doubt, witnesses[0], 10.0, 12.0)
    assert doubt.suspects(witnesses[0], 12.0)


def test_only_the_last_probe_of_each_counts():
    doubt, witnesses = doubt_of(3)
    for witness in witnesses:
        fail_since(doubt, witness, 10.0, 12.0)
    for witness in witnesses[1:]:
        doubt.heard(witness, True, 12.5)
    assert not doubt.suspects(witnesses[0], 13.0)


def test_a_failure_right_away_has_no_one_to_compare_with():
    doubt, witnesses = doubt_of(10)
    for witness in witnesses[1:]:
        doubt.heard(witness, True, 10.0)
    fail_since(doubt, witnesses[0], 10.0, 10.0)
    assert doubt.suspects(witnesses[0], 10.0)


def test_who_is_known_to_be_down_counts_for_success_only():
    doubt, witnesses = doubt_of(4)
    for witness in witnesses[1:]:
        doubt.turned(witness, down=True)
        doubt.heard(witness, False, 11.0)
    fail_since(doubt, witnesses[0], 10.0, 12.0)
    doubt.heard(witnesses[1], True, 11.5)
    assert not doubt.suspects(witnesses[0], 12.0)
    doubt.heard(witnesses[1], False, 11.8)
    assert doubt.suspects(witnesses[0], 12.0)


def test_an_answer_counts_for_a_while():
    doubt, witnesses = doubt_of(1)
    doubt.trust(12.0)
    fail_since(doubt, witnesses[0], 10.0, 12.0)
    assert not doubt.suspects(witnesses[0], 12.0)
    assert not doubt.suspects(witnesses[0], 12.0 + VALID - 0.01)
    assert doubt.suspects(witnesses[0], 12.0 + VALID)


def test_an_answer_from_before_the_first_failure_tells_nothing_of_it():
    doubt, witnesses = doubt_of(1)
    doubt.trust(12.0)
    fail_since(doubt, witnesses[0], 12.1, 12.2)
    assert doubt.suspects(witnesses[0], 12.2)


def test_an_answer_thaws():
    doubt, _ = doubt_of(3)
    doubt.freeze()
    assert doubt.frozen
    doubt.trust(20.0)
    assert not doubt.frozen
    assert doubt.believed
    assert doubt.thawed_at == 20.0


def test_most_targets_thaw_and_then_the_references_are_not_believed_until_one_answers():
    doubt, witnesses = doubt_of(5)
    doubt.freeze()
    for witness in witnesses[:2]:
        doubt.heard(witness, True, 20.0)
        doubt.heard(witness, True, 20.1)
    assert doubt.frozen
    doubt.heard(witnesses[2], True, 21.0)
    assert not doubt.frozen
    assert doubt.thawed_at == 21.0
    fail_since(doubt, witnesses[0], 22.0, 25.0)
    assert not doubt.believed
    assert not doubt.suspects(witnesses[0], 25.0)
    doubt.trust(26.0)
    assert doubt.believed
    assert doubt.suspects(witnesses[0], 28.0)


def test_success_before_the_freeze_thaws_nothing():
    doubt, witnesses = doubt_of(3)
    for witness in witnesses:
        doubt.heard(witness, True, 9.0)
    doubt.freeze()
    doubt.heard(witnesses[0], True, 20.0)
    assert doubt.frozen


def test_who_has_gone_neither_thaws_nor_keeps_frozen():
    doubt, witnesses = doubt_of(7)
    doubt.freeze()
    for witness in witnesses[:3]:
        doubt.heard(witness, True, 20.0)
    for witness in witnesses[:2]:
        doubt.dismiss(witness)
    doubt.heard(witnesses[2], True, 21.0)
    assert doubt.frozen  # one of five
    for witness in witnesses[3:6]:
        doubt.dismiss(witness)
    doubt.heard(witnesses[2], True, 22.0)
    assert not doubt.frozen  # one of two


class Doubting(RuleBasedStateMachine):
    """Doubt next to one that looks at every witness each time."""

    def __init__(self):
        super().__init__()
        self.doubt = OutageDetector()
        self.now = 10.0
        # of each witness, when it last told something and what; who has succeeded since the freeze
        self.told = {}
        self.cleared = set()

    @rule(down=st.booleans())
    def admit(self, down):
        witness = Observation(down=down)
        self.told[witness] = None
        self.doubt.admit(witness)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def dismiss(self, data):
        witness = self.draw(data)
        del self.told[witness]
        self.cleared.discard(witness)
        self.doubt.dismiss(witness)

    def draw(self, data):
        return list(self.told)[data.draw(st.integers(0, len(self.told) - 1))]

    @precondition(lambda self: self.told)
    @rule(data=st.data(), ok=st.booleans(), seconds=st.sampled_from([0.0, 0.04, 0.3, 1.0]))
    def hear(self, data, ok, seconds):
        self.now += seconds
        witness = self.draw(data)
        frozen = self.doubt.frozen
        self.doubt.heard(witness, ok, self.now)
        self.told[witness] = (int(self.now * GRAINS), ok) if ok or not witness.down else None
        if frozen:
            (self.cleared.add if ok else self.cleared.discard)(witness)
            suspect = sum(not w.down for w in self.told.keys() - self.cleared)
            thaws = ok and len(self.cleared) >= suspect
            assert self.doubt.frozen == (not thaws)
            if thaws:
                assert not self.doubt.believed
                self.cleared.clear()

    @precondition(lambda self: self.told and not self.doubt.frozen)
    @rule(data=st.data(), down=st.booleans())
    def turn(self, data, down):
        witness = self.draw(data)
        self.doubt.turned(witness, down=down)
        if down:
            self.told[witness] = None

    @precondition(lambda self: self.told and not self.doubt.frozen)
    @rule(data=st.data(), since=st.floats(0.0, 5.0))
    def suspect(self, data, since):
        witness = self.draw(data)
        witness.failing_since = self.now - since
        first = int(witness.failing_since * GRAINS)
        said = [ok for grain, ok in filter(None, self.told.values()) if grain > first]
        most = max(said.count(False), 1) > said.count(True)
        fresh = witness.failing_since <= self.answered and self.now - self.answered < VALID
        assert self.doubt.suspects(witness, self.now) == (most and self.doubt.believed and not fresh)

    answered = -10.0

    @precondition(lambda self: not self.doubt.frozen)
    @rule()
    def freeze(self):
        self.doubt.freeze()

    @rule()
    def answer(self):
        self.answered = self.now
        self.doubt.trust(self.now)
        self.cleared.clear()
        assert not self.doubt.frozen

    @invariant()
    def nothing_is_left_behind(self):
        assert sum(map(sum, self.doubt._told.values())) == sum(told is not None for told in self.told.values())
        assert all(map(any, self.doubt._told.values()))
        assert list(self.doubt._told) == sorted(self.doubt._told)


Doubting.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDoubting = Doubting.TestCase
