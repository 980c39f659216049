import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clusterf.health.self_outage import BUCKETS_PER_SECOND, RESPONSE_VALID, Observation, OutageDetector


def detector_of(count):
    detector, observations = OutageDetector(), [Observation(down=False) for _ in range(count)]
    for observation in observations:
        detector.add(observation)
    return detector, observations


def fail_since(detector, observation, since, now):
    observation.failing_since = since
    detector.observe(observation, False, now)


@pytest.mark.parametrize(
    ("failing", "succeeding", "suspected"), [(1, 0, True), (1, 1, False), (2, 1, True), (5, 5, False), (6, 5, True)]
)
def test_most_have_to_fail(failing, succeeding, suspected):
    detector, observations = detector_of(failing + succeeding)
    for observation in observations[:failing]:
        fail_since(detector, observation, 10.0, 12.0)
    for observation in observations[failing:]:
        detector.observe(observation, True, 11.0)
    assert detector.suspects_outage(observations[0], 12.0) == suspected


def test_what_was_told_before_the_first_failure_tells_nothing():
    detector, observations = detector_of(10)
    for observation in observations[1:]:
        detector.observe(observation, True, 9.9)
    fail_since(detector, observations[0], 10.0, 12.0)
    assert detector.suspects_outage(observations[0], 12.0)


def test_only_the_last_probe_of_each_counts():
    detector, observations = detector_of(3)
    for observation in observations:
        fail_since(detector, observation, 10.0, 12.0)
    for observation in observations[1:]:
        detector.observe(observation, True, 12.5)
    assert not detector.suspects_outage(observations[0], 13.0)


def test_a_failure_right_away_has_no_one_to_compare_with():
    detector, observations = detector_of(10)
    for observation in observations[1:]:
        detector.observe(observation, True, 10.0)
    fail_since(detector, observations[0], 10.0, 10.0)
    assert detector.suspects_outage(observations[0], 10.0)


def test_who_is_known_to_be_down_counts_for_success_only():
    detector, observations = detector_of(4)
    for observation in observations[1:]:
        detector.switched(observation, down=True)
        detector.observe(observation, False, 11.0)
    fail_since(detector, observations[0], 10.0, 12.0)
    detector.observe(observations[1], True, 11.5)
    assert not detector.suspects_outage(observations[0], 12.0)
    detector.observe(observations[1], False, 11.8)
    assert detector.suspects_outage(observations[0], 12.0)


def test_an_answer_counts_for_a_while():
    detector, observations = detector_of(1)
    detector.reference_responded(12.0)
    fail_since(detector, observations[0], 10.0, 12.0)
    assert not detector.suspects_outage(observations[0], 12.0)
    assert not detector.suspects_outage(observations[0], 12.0 + RESPONSE_VALID - 0.01)
    assert detector.suspects_outage(observations[0], 12.0 + RESPONSE_VALID)


def test_an_answer_from_before_the_first_failure_tells_nothing_of_it():
    detector, observations = detector_of(1)
    detector.reference_responded(12.0)
    fail_since(detector, observations[0], 12.1, 12.2)
    assert detector.suspects_outage(observations[0], 12.2)


def test_an_answer_thaws():
    detector, _ = detector_of(3)
    detector.freeze()
    assert detector.frozen
    detector.reference_responded(20.0)
    assert not detector.frozen
    assert detector.references_trusted
    assert detector.thawed_at == 20.0


def test_most_targets_thaw_and_then_the_references_are_not_believed_until_one_answers():
    detector, observations = detector_of(5)
    detector.freeze()
    for observation in observations[:2]:
        detector.observe(observation, True, 20.0)
        detector.observe(observation, True, 20.1)
    assert detector.frozen
    detector.observe(observations[2], True, 21.0)
    assert not detector.frozen
    assert detector.thawed_at == 21.0
    fail_since(detector, observations[0], 22.0, 25.0)
    assert not detector.references_trusted
    assert not detector.suspects_outage(observations[0], 25.0)
    detector.reference_responded(26.0)
    assert detector.references_trusted
    assert detector.suspects_outage(observations[0], 28.0)


def test_success_before_the_freeze_thaws_nothing():
    detector, observations = detector_of(3)
    for observation in observations:
        detector.observe(observation, True, 9.0)
    detector.freeze()
    detector.observe(observations[0], True, 20.0)
    assert detector.frozen


def test_who_has_gone_neither_thaws_nor_keeps_frozen():
    detector, observations = detector_of(7)
    detector.freeze()
    for observation in observations[:3]:
        detector.observe(observation, True, 20.0)
    for observation in observations[:2]:
        detector.remove(observation)
    detector.observe(observations[2], True, 21.0)
    assert detector.frozen  # one of five
    for observation in observations[3:6]:
        detector.remove(observation)
    detector.observe(observations[2], True, 22.0)
    assert not detector.frozen  # one of two


class Doubting(RuleBasedStateMachine):
    """Doubt next to one that looks at every observation each time."""

    def __init__(self):
        super().__init__()
        self.detector = OutageDetector()
        self.now = 10.0
        # of each observation, when it last told something and what; who has succeeded since the freeze
        self.told = {}
        self.cleared = set()

    @rule(down=st.booleans())
    def admit(self, down):
        observation = Observation(down=down)
        self.told[observation] = None
        self.detector.add(observation)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def dismiss(self, data):
        observation = self.draw(data)
        del self.told[observation]
        self.cleared.discard(observation)
        self.detector.remove(observation)

    def draw(self, data):
        return list(self.told)[data.draw(st.integers(0, len(self.told) - 1))]

    @precondition(lambda self: self.told)
    @rule(data=st.data(), ok=st.booleans(), seconds=st.sampled_from([0.0, 0.04, 0.3, 1.0]))
    def hear(self, data, ok, seconds):
        self.now += seconds
        observation = self.draw(data)
        frozen = self.detector.frozen
        self.detector.observe(observation, ok, self.now)
        self.told[observation] = (int(self.now * BUCKETS_PER_SECOND), ok) if ok or not observation.down else None
        if frozen:
            (self.cleared.add if ok else self.cleared.discard)(observation)
            suspect = sum(not w.down for w in self.told.keys() - self.cleared)
            thaws = ok and len(self.cleared) >= suspect
            assert self.detector.frozen == (not thaws)
            if thaws:
                assert not self.detector.references_trusted
                self.cleared.clear()

    @precondition(lambda self: self.told and not self.detector.frozen)
    @rule(data=st.data(), down=st.booleans())
    def turn(self, data, down):
        observation = self.draw(data)
        self.detector.switched(observation, down=down)
        if down:
            self.told[observation] = None

    @precondition(lambda self: self.told and not self.detector.frozen)
    @rule(data=st.data(), since=st.floats(0.0, 5.0))
    def suspect(self, data, since):
        observation = self.draw(data)
        observation.failing_since = self.now - since
        first = int(observation.failing_since * BUCKETS_PER_SECOND)
        said = [ok for bucket, ok in filter(None, self.told.values()) if bucket > first]
        most = max(said.count(False), 1) > said.count(True)
        fresh = observation.failing_since <= self.answered and self.now - self.answered < RESPONSE_VALID
        suspected = most and self.detector.references_trusted and not fresh
        assert self.detector.suspects_outage(observation, self.now) == suspected

    answered = -10.0

    @precondition(lambda self: not self.detector.frozen)
    @rule()
    def freeze(self):
        self.detector.freeze()

    @rule()
    def answer(self):
        self.answered = self.now
        self.detector.reference_responded(self.now)
        self.cleared.clear()
        assert not self.detector.frozen

    @invariant()
    def nothing_is_left_behind(self):
        assert sum(map(sum, self.detector._buckets.values())) == sum(told is not None for told in self.told.values())
        assert all(map(any, self.detector._buckets.values()))
        assert list(self.detector._buckets) == sorted(self.detector._buckets)


Doubting.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDoubting = Doubting.TestCase
