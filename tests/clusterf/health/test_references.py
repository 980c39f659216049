import asyncio

import pytest

from clusterf.health import references
from clusterf.health.references import References
from clusterf.lib.addresses import parse_endpoint
from tests.actors.support.fake_prober import DOWN, UP

ONE, TWO = parse_endpoint("192.0.2.1:53"), parse_endpoint("192.0.2.2:53")


class Asked:
    """References in doubt, and a prober whose answers the test gives."""

    def __init__(self, loop):
        self.loop = loop
        self.doubtful = True
        self.answers = []
        # what is to be called with each outcome
        self.open = []
        self.references = References([ONE, TWO], loop, self, lambda: self.doubtful, self.answers.append)

    def start(self, target, done):
        assert target.check.type == "tcp"
        self.open.append((target.endpoint, done))

    def answer(self, number, outcome):
        self.open[number][1](outcome)

    def run(self, seconds=0.0):
        self.loop.run_until_complete(asyncio.sleep(seconds))


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(references, "REFERENCE_INTERVAL", 0.05)
    loop = asyncio.new_event_loop()
    yield Asked(loop)
    loop.close()


def test_all_are_asked_at_once_if_there_is_doubt(asked):
    asked.doubtful = False
    asked.references.probe_if_needed()
    assert asked.open == []
    asked.doubtful = True
    asked.references.probe_if_needed()
    asked.references.probe_if_needed()
    assert [at for at, _ in asked.open] == [ONE, TWO]
    assert str(asked.references) == "192.0.2.1:53, 192.0.2.2:53"


def test_one_answer_is_enough(asked):
    asked.references.probe_if_needed()
    asked.answer(0, DOWN)
    assert asked.answers == []
    asked.answer(1, UP)
    assert asked.answers == [True]


def test_without_any_that_is_the_answer(asked):
    asked.references.probe_if_needed()
    asked.answer(1, DOWN)
    asked.answer(0, DOWN)
    assert asked.answers == [False]


def test_what_comes_too_late_counts_for_nothing(asked):
    asked.references.probe_if_needed()
    asked.answer(0, UP)
    asked.run(0.06)
    asked.references.probe_if_needed()
    assert len(asked.open) == 4
    asked.answer(1, DOWN)
    asked.answer(2, DOWN)
    assert asked.answers == [True]
    asked.answer(3, UP)
    asked.answer(1, UP)
    assert asked.answers == [True, True]


def test_they_are_asked_once_an_interval(asked):
    began = asked.loop.time()
    asked.references.probe_if_needed()
    asked.answer(0, UP)
    asked.references.probe_if_needed()
    asked.references.probe_if_needed()
    assert len(asked.open) == 2
    while len(asked.open) == 2:
        asked.run(0.001)
    assert asked.loop.time() - began >= 0.05
    assert len(asked.open) == 4


def test_a_question_that_has_to_wait_is_dropped_with_the_doubt(asked):
    asked.references.probe_if_needed()
    asked.answer(0, UP)
    asked.references.probe_if_needed()
    asked.doubtful = False
    asked.run(0.1)
    assert len(asked.open) == 2
    asked.doubtful = True
    asked.references.probe_if_needed()
    assert len(asked.open) == 4
