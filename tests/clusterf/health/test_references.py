import asyncio

import pytest

from clusterf.health import references
from clusterf.health.references import References
from clusterf.lib.addresses import parse_endpoint
from tests.actors.support.fake_prober import DOWN, UP

ONE, TWO = parse_endpoint("192.0.2.1:53"), parse_endpoint("192.0.2.2:53")


class Setup:
    """References, and a prober whose results are given by the test."""

    def __init__(self, loop):
        self.loop = loop
        self.needed = True
        self.responses = []
        # the endpoint and the callback of each probe
        self.probes = []
        self.references = References([ONE, TWO], loop, self, lambda: self.needed, self.responses.append)

    def start(self, target, done):
        assert (target.check.type, target.check.timeout) == ("tcp", 1.0)
        self.probes.append((target.endpoint, done))

    def finish(self, number, result):
        self.probes[number][1](result)

    def run(self, seconds=0.0):
        self.loop.run_until_complete(asyncio.sleep(seconds))


@pytest.fixture
def setup(monkeypatch):
    monkeypatch.setattr(references, "REFERENCE_INTERVAL", 0.05)
    loop = asyncio.new_event_loop()
    yield Setup(loop)
    loop.close()


def test_all_references_are_probed_at_once_when_needed(setup):
    setup.needed = False
    setup.references.probe_if_needed()
    assert setup.probes == []
    setup.needed = True
    setup.references.probe_if_needed()
    setup.references.probe_if_needed()
    assert [at for at, _ in setup.probes] == [ONE, TWO]
    assert str(setup.references) == "192.0.2.1:53, 192.0.2.2:53"


def test_one_response_is_enough(setup):
    setup.references.probe_if_needed()
    setup.finish(0, DOWN)
    assert setup.responses == []
    setup.finish(1, UP)
    assert setup.responses == [True]


def test_failure_of_all_references_is_reported_once(setup):
    setup.references.probe_if_needed()
    setup.finish(1, DOWN)
    setup.finish(0, DOWN)
    assert setup.responses == [False]


def test_late_results_are_dropped(setup):
    setup.references.probe_if_needed()
    setup.finish(0, UP)
    setup.run(0.06)
    setup.references.probe_if_needed()
    assert len(setup.probes) == 4
    setup.finish(1, DOWN)
    setup.finish(2, DOWN)
    assert setup.responses == [True]
    setup.finish(3, UP)
    setup.finish(1, UP)
    assert setup.responses == [True, True]


def test_references_are_probed_once_an_interval(setup):
    started = setup.loop.time()
    setup.references.probe_if_needed()
    setup.finish(0, UP)
    setup.references.probe_if_needed()
    setup.references.probe_if_needed()
    assert len(setup.probes) == 2
    while len(setup.probes) == 2:
        setup.run(0.001)
    assert setup.loop.time() - started >= 0.05
    assert len(setup.probes) == 4


def test_scheduled_round_is_dropped_when_no_longer_needed(setup):
    setup.references.probe_if_needed()
    setup.finish(0, UP)
    setup.references.probe_if_needed()
    setup.needed = False
    setup.run(0.1)
    assert len(setup.probes) == 2
    setup.needed = True
    setup.references.probe_if_needed()
    assert len(setup.probes) == 4
