import asyncio
import logging
import time

import pytest

from actors.health import verdict_output
from actors.health.verdict_output import VerdictOutput
from clusterf.config.model import BackendKey, HealthCheck
from clusterf.health.monitor import Transition
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult, StoredVerdict, Verdict, VerdictKey
from clusterf.lib.addresses import parse_endpoint

AT = parse_endpoint("10.0.0.1:80")
TARGET = Target(AT, HealthCheck())
ONE, TWO = VerdictKey(b"web", b"1", AT), VerdictKey(b"web", b"2", AT)
UP = StoredVerdict(Verdict(True, 1.0), True)
DOWN = StoredVerdict(Verdict(False, 2.0, "refused"), True)


class Setup:
    """An output, and the order in which its fake publisher and store are called; both backends share one target."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.calls = []
        self.stored = DOWN
        self.refused = []
        self.output = VerdictOutput(self.loop, self, self, self)

    def publish(self, messages, *, synced):
        self.calls.append(("publish", {message.key: message.value for message in messages}, synced))

    def record(self, updates):
        self.calls.append(("record", dict(updates)))

    def pulse(self, known):
        assert known <= time.monotonic()
        self.calls.append("pulse")
        if len(self.calls) > 2:
            self.loop.stop()

    def updates(self, transitions):
        return {key: self.stored for _ in transitions for key in (ONE, TWO)}

    def take_refused(self):
        refused, self.refused = self.refused, []
        return refused

    def backends(self, target):
        return [BackendKey(b"web", b"1"), BackendKey(b"web", b"2")]

    def run_once(self):
        self.loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def setup():
    setup = Setup()
    yield setup
    setup.loop.close()


def down(reason="refused"):
    result = ProbeResult(False, reason, 0.0002)
    return Transition(TARGET, Verdict(False, 2.0, reason), None, result, 3)


def test_updates_are_published_and_then_recorded(setup):
    setup.output.add({ONE: UP})
    setup.output.add({TWO: None})
    assert setup.calls == []
    setup.output.write(synced=True)
    assert setup.calls == [
        ("publish", {ONE: UP.verdict, TWO: None}, True),
        ("record", {ONE: UP, TWO: None}),
    ]


def test_target_that_is_not_probed_is_published_and_reported_but_not_recorded(setup, caplog):
    refused = StoredVerdict(Verdict(None, 3.0, "not allowed (--health-deny)"), False)
    setup.refused = [Target(AT, HealthCheck(), "not allowed (--health-deny)")]
    setup.output.add({ONE: refused, TWO: UP})
    setup.output.write()
    assert setup.calls == [
        ("publish", {ONE: refused.verdict, TWO: UP.verdict}, False),
        ("record", {ONE: None, TWO: UP}),
    ]
    setup.output.write()
    line = "health: web/1: 10.0.0.1:80 is not probed: not allowed (--health-deny) (and 1 more backends)"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("ERROR", line)]


def test_written_updates_are_not_written_again(setup):
    setup.output.add({ONE: UP})
    setup.output.write()
    setup.output.write()
    assert setup.calls[2:] == [("publish", {}, False), ("record", {})]


def test_transitions_of_one_iteration_are_written_once_at_its_end(setup, caplog):
    caplog.set_level(logging.INFO)
    setup.output.add_transitions([down("timeout")])
    setup.output.add_transitions([down()])
    assert setup.calls == []
    setup.run_once()
    assert [call[0] for call in setup.calls] == ["publish", "record"]
    assert setup.calls[0][1] == {ONE: DOWN.verdict, TWO: DOWN.verdict}
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"health: web/{backend}: 10.0.0.1:80 is down: {reason} (3 failures in a row, 0.2 ms)")
        for reason in ("timeout", "refused")
        for backend in (1, 2)
    ]
    setup.run_once()
    assert len(setup.calls) == 2


def test_transition_replaces_an_update_of_the_same_backend(setup):
    setup.output.add({ONE: UP})
    setup.output.add_transitions([down()])
    setup.output.write()
    assert setup.calls[1] == ("record", {ONE: DOWN, TWO: DOWN})


def test_subscribers_see_again_and_again_that_the_process_runs(setup, monkeypatch):
    monkeypatch.setattr(verdict_output, "INTERVAL", 0.001)
    setup.output.pulse()
    setup.loop.run_forever()
    assert setup.calls == ["pulse"] * 3
