import asyncio
import logging
from time import monotonic

import pytest

from actors.health.probing import TICK, Probing
from clusterf.config.model import HealthCheck
from clusterf.health.monitor import Monitor
from clusterf.health.targets import Target
from clusterf.lib.addresses import parse_endpoint
from tests.actors.support.fake_prober import DOWN, UP, FakeProbers
from tests.waiting import wait_until

CHECK = HealthCheck(interval=0.03, fast_interval=0.01, fall=2, jitter=0.0)
TARGET = Target(parse_endpoint("10.0.0.1:80"), CHECK)
REFERENCE = parse_endpoint("192.0.2.1:53")


class Setup:
    """A monitor whose targets are probed by a fake prober, and the transitions so far."""

    def __init__(self, references=()):
        self.loop = asyncio.new_event_loop()
        self.monitor = Monitor(references=bool(references))
        self.probers = FakeProbers()
        self.transitions = []
        self.probing = Probing(self.loop, self.monitor, self.probers(self.loop), references, self.transitions.extend)

    def watch(self, target=TARGET, **options):
        self.monitor.watch(target, monotonic(), **options)
        self.probing.schedule()

    def run_until(self, condition):
        def run():
            self.loop.run_until_complete(asyncio.sleep(TICK))
            return condition()

        wait_until(run)


@pytest.fixture
def make_setup():
    made = []

    def make(**options):
        made.append(Setup(**options))
        return made[-1]

    yield make
    for setup in made:
        setup.probing.close()
        setup.loop.close()


def test_targets_are_probed_again_and_again(make_setup):
    setup = make_setup()
    setup.watch()
    setup.run_until(lambda: len(setup.probers.started) >= 5)
    assert set(setup.probers.started) == {TARGET}
    assert [transition.verdict.up for transition in setup.transitions] == [True]


def test_nothing_is_scheduled_without_targets(make_setup):
    setup = make_setup()
    setup.probing.schedule()
    assert setup.probing._timer is None


def test_earlier_target_replaces_the_timer(make_setup):
    setup = make_setup()
    late = Target(TARGET.endpoint, HealthCheck(interval=3600.0))
    setup.watch(late)
    setup.run_until(lambda: setup.transitions)
    timer = setup.probing._timer
    setup.watch()
    assert timer.cancelled()
    setup.run_until(lambda: TARGET in setup.probers.started)


def test_close_stops_probing(make_setup):
    setup = make_setup()
    setup.watch()
    setup.probing.close()
    setup.loop.run_until_complete(asyncio.sleep(5 * TICK))
    assert setup.probers.started == []
    assert setup.probers.closed == 1


def test_references_are_probed_before_most_targets_go_down(make_setup, caplog):
    setup = make_setup(references=[REFERENCE])
    setup.probers.default = DOWN
    setup.watch()
    setup.run_until(lambda: setup.monitor.frozen)
    assert REFERENCE in {target.endpoint for target in setup.probers.started}
    assert setup.transitions == []
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "health: most targets are failing and no reference responds (192.0.2.1:53): "
        "assuming a local outage, freezing 1 verdicts"
    )


def test_targets_go_down_if_a_reference_responds(make_setup, caplog):
    setup = make_setup(references=[REFERENCE])
    setup.probers.default = DOWN
    setup.probers.results = {REFERENCE: UP}
    setup.watch()
    setup.run_until(lambda: setup.transitions)
    assert [transition.verdict.reason for transition in setup.transitions] == ["refused"]
    assert not caplog.records
