"""The detector, which keeps counts, answers as one that looks at every target each time."""

import random

import pytest

from clusterf.health.self_outage import (
    BUCKETS_PER_SECOND,
    REFERENCE_INTERVAL,
    RESPONSE_VALID,
    Observation,
    OutageDetector,
)


class Model:
    """Targets, what their last probes were, and what follows from that for an outage."""

    def __init__(self):
        self.detector = OutageDetector()
        # of each target: the bucket and the result of its last probe that counts, and whether that passed in the freeze
        self.last, self.recovered = {}, {}
        self.frozen, self.trusted, self.responded = False, True, -1e9

    def add(self, down):
        observation = Observation(down=down)
        self.detector.add(observation)
        self.last[observation], self.recovered[observation] = None, False

    def remove(self, observation):
        self.detector.remove(observation)
        del self.last[observation], self.recovered[observation]

    def observe(self, observation, ok, now):
        self.detector.observe(observation, ok, now)
        self.last[observation] = (int(now * BUCKETS_PER_SECOND), ok) if ok or not observation.down else None
        if not self.frozen:
            return
        self.recovered[observation] = ok
        recovered = sum(self.recovered.values())
        unrecovered = sum(not one.down and not passed for one, passed in self.recovered.items())
        if ok and recovered >= unrecovered:
            self.frozen = self.trusted = False

    def switch(self, observation, down):
        self.detector.switched(observation, down=down)
        if down:
            self.last[observation] = None

    def freeze(self):
        self.detector.freeze()
        self.frozen, self.recovered = True, dict.fromkeys(self.recovered, False)

    def respond(self, now):
        self.detector.reference_responded(now)
        self.frozen, self.trusted, self.responded = False, True, now

    def suspects(self, observation, now):
        since = observation.failing_since
        if not self.trusted or (self.responded >= since and now - self.responded < RESPONSE_VALID):
            return False
        first = int(since * BUCKETS_PER_SECOND)
        results = [last[1] for last in self.last.values() if last and last[0] > first]
        return max(results.count(False), 1) > results.count(True)


def step(model, choose, now):
    """Have one thing happen to one target, or to all."""
    one = choose.choice(list(model.last)) if model.last else None
    match choose.choice(["add", "remove", "freeze", "respond", *["observe"] * 12, *["switch"] * 2]):
        case "add":
            model.add(choose.random() < 0.3)
        case "remove" if len(model.last) > 2:
            model.remove(one)
        case "freeze" if not model.frozen and choose.random() < 0.7:
            model.freeze()
        case "respond" if choose.random() < 0.3:
            model.respond(now)
        case "switch" if not model.frozen and one:
            model.switch(one, choose.random() < 0.5)
        case "observe" if one:
            if choose.random() < 0.2:
                one.failing_since = now
            model.observe(one, choose.random() < 0.5, now)


@pytest.mark.parametrize("seed", range(40))
def test_detector_answers_as_one_that_looks_at_every_target(seed):
    choose, model, now = random.Random(seed), Model(), 1000.0
    for _ in range(choose.randrange(8)):
        model.add(choose.random() < 0.3)
    for _ in range(250):
        now += choose.choice([0.0, 0.01, 0.03, 0.2])
        step(model, choose, now)
        detector = model.detector
        assert (detector.frozen, detector.references_trusted) == (model.frozen, model.trusted)
        assert [detector.suspects_outage(one, now) for one in model.last] == [
            model.suspects(one, now) for one in model.last
        ]


def test_references_are_probed_once_a_second_and_clear_what_failed_before_for_one():
    assert (REFERENCE_INTERVAL, RESPONSE_VALID) == (1.0, 1.0)
