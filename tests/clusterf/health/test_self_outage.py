import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clusterf.health.self_outage import BUCKETS_PER_SECOND, RESPONSE_VALID, Observation, OutageDetector
from tests.clusterf.support.choices import any_of, pick
from tests.examples import examples


def detector_of(count):
    detector, observations = OutageDetector(), [Observation(down=False) for _ in range(count)]
    for observation in observations:
        detector.add(observation)
    return detector, observations


def fail_since(detector, observation, since, now):
    observation.failing_since = since
    detector.observe(observation, False, now)


@pytest.mark.parametrize(
    ("failing", "passing", "suspected"), [(1, 0, True), (1, 1, False), (2, 1, True), (5, 5, False), (6, 5, True)]
)
def test_outage_is_suspected_if_most_targets_fail(failing, passing, suspected):
    detector, observations = detector_of(failing + passing)
    for observation in observations[:failing]:
        fail_since(detector, observation, 10.0, 12.0)
    for observation in observations[failing:]:
        detector.observe(observation, True, 11.0)
    assert detector.suspects_outage(observations[0], 12.0) == suspected


def test_results_from_before_the_first_failure_are_not_counted():
    detector, observations = detector_of(10)
    for observation in observations[1:]:
        detector.observe(observation, True, 9.9)
    fail_since(detector, observations[0], 10.0, 12.0)
    assert detector.suspects_outage(observations[0], 12.0)


def test_only_the_last_result_of_each_target_is_counted():
    detector, observations = detector_of(3)
    for observation in observations:
        fail_since(detector, observation, 10.0, 12.0)
    for observation in observations[1:]:
        detector.observe(observation, True, 12.5)
    assert not detector.suspects_outage(observations[0], 13.0)


def test_results_at_the_time_of_the_first_failure_are_not_counted():
    detector, observations = detector_of(10)
    for observation in observations[1:]:
        detector.observe(observation, True, 10.0)
    fail_since(detector, observations[0], 10.0, 10.0)
    assert detector.suspects_outage(observations[0], 10.0)


def test_of_targets_that_are_down_only_successes_are_counted():
    detector, observations = detector_of(4)
    for observation in observations[1:]:
        detector.switched(observation, down=True)
        detector.observe(observation, False, 11.0)
    fail_since(detector, observations[0], 10.0, 12.0)
    detector.observe(observations[1], True, 11.5)
    assert not detector.suspects_outage(observations[0], 12.0)
    detector.observe(observations[1], False, 11.8)
    assert detector.suspects_outage(observations[0], 12.0)


def test_response_of_a_reference_is_valid_for_a_limited_time():
    detector, observations = detector_of(1)
    detector.reference_responded(12.0)
    fail_since(detector, observations[0], 10.0, 12.0)
    assert not detector.suspects_outage(observations[0], 12.0)
    assert not detector.suspects_outage(observations[0], 12.0 + RESPONSE_VALID - 0.01)
    assert detector.suspects_outage(observations[0], 12.0 + RESPONSE_VALID)


def test_response_from_before_the_first_failure_does_not_clear_the_target():
    detector, observations = detector_of(1)
    detector.reference_responded(12.0)
    fail_since(detector, observations[0], 12.1, 12.2)
    assert detector.suspects_outage(observations[0], 12.2)


def test_response_of_a_reference_ends_the_freeze():
    detector, _ = detector_of(3)
    detector.freeze()
    assert detector.frozen
    detector.reference_responded(20.0)
    assert not detector.frozen
    assert detector.references_trusted
    assert detector.thawed_at == 20.0


def test_passing_targets_end_the_freeze_and_references_are_not_trusted_until_one_responds():
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


def test_successes_from_before_the_freeze_do_not_end_it():
    detector, observations = detector_of(3)
    for observation in observations:
        detector.observe(observation, True, 9.0)
    detector.freeze()
    detector.observe(observations[0], True, 20.0)
    assert detector.frozen


def test_removed_targets_count_neither_for_nor_against_the_freeze():
    detector, observations = detector_of(7)
    detector.freeze()
    for observation in observations[:3]:
        detector.observe(observation, True, 20.0)
    for observation in observations[:2]:
        detector.remove(observation)
    detector.observe(observations[2], True, 21.0)
    assert detector.frozen  # one of five has recovered
    for observation in observations[3:6]:
        detector.remove(observation)
    detector.observe(observations[2], True, 22.0)
    assert not detector.frozen  # one of two has recovered


INDEXES, BOOLEANS = range(32), (False, True)
indexes = st.integers(0, 31)


class Detecting(RuleBasedStateMachine):
    """A detector next to a model that looks at every observation each time."""

    def __init__(self):
        super().__init__()
        self.detector = OutageDetector()
        self.now = 10.0
        # the last result of each observation, and its bucket; those that have recovered in this freeze
        self.results = {}
        self.recovered = set()
        self.responded_at = -10.0

    @rule(down=st.booleans())
    def add(self, down):
        observation = Observation(down=down)
        self.results[observation] = None
        self.detector.add(observation)

    @precondition(lambda self: self.results)
    @rule(index=indexes)
    def remove(self, index):
        observation = pick(self.results, index)
        del self.results[observation]
        self.recovered.discard(observation)
        self.detector.remove(observation)

    @precondition(lambda self: self.results)
    @rule(choice=any_of(INDEXES, BOOLEANS, (0.0, 0.04, 0.3, 1.0)))
    def observe(self, choice):
        index, ok, seconds = choice
        self.now += seconds
        observation = pick(self.results, index)
        frozen = self.detector.frozen
        self.detector.observe(observation, ok, self.now)
        self.results[observation] = (int(self.now * BUCKETS_PER_SECOND), ok) if ok or not observation.down else None
        if frozen:
            (self.recovered.add if ok else self.recovered.discard)(observation)
            unrecovered = sum(not one.down for one in self.results.keys() - self.recovered)
            thaws = ok and len(self.recovered) >= unrecovered
            assert self.detector.frozen == (not thaws)
            if thaws:
                assert not self.detector.references_trusted
                self.recovered.clear()

    @precondition(lambda self: self.results and not self.detector.frozen)
    @rule(choice=any_of(INDEXES, BOOLEANS))
    def switch(self, choice):
        index, down = choice
        observation = pick(self.results, index)
        self.detector.switched(observation, down=down)
        if down:
            self.results[observation] = None

    @precondition(lambda self: self.results and not self.detector.frozen)
    @rule(index=indexes, since=st.floats(0.0, 5.0))
    def suspect(self, index, since):
        observation = pick(self.results, index)
        observation.failing_since = self.now - since
        first = int(observation.failing_since * BUCKETS_PER_SECOND)
        counted = [ok for bucket, ok in filter(None, self.results.values()) if bucket > first]
        most = max(counted.count(False), 1) > counted.count(True)
        cleared = observation.failing_since <= self.responded_at and self.now - self.responded_at < RESPONSE_VALID
        suspected = most and self.detector.references_trusted and not cleared
        assert self.detector.suspects_outage(observation, self.now) == suspected

    @precondition(lambda self: not self.detector.frozen)
    @rule()
    def freeze(self):
        self.detector.freeze()

    @rule()
    def respond(self):
        self.responded_at = self.now
        self.detector.reference_responded(self.now)
        self.recovered.clear()
        assert not self.detector.frozen

    @invariant()
    def counts_are_those_of_all_observations(self):
        buckets = self.detector._buckets
        assert sum(map(sum, buckets.values())) == sum(result is not None for result in self.results.values())
        assert all(map(any, buckets.values()))
        assert list(buckets) == sorted(buckets)


Detecting.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)
TestDetecting = Detecting.TestCase
