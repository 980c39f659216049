import logging

import pytest

from clusterf.config.model import BackendKey, HealthCheck
from clusterf.health.monitor import Transition
from clusterf.health.report import MAX_BACKENDS, MAX_REFUSED, OutageReport, refusal_lines, transition_lines
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult, Verdict
from clusterf.lib.addresses import parse_endpoint

TARGET = Target(parse_endpoint("10.0.0.1:80"), HealthCheck())
WEB = BackendKey(b"web", b"1")


def lines(result, streak, backends=(WEB,)):
    transition = Transition(TARGET, Verdict(result.ok, 1.0, result.reason), None, result, streak)
    return list(transition_lines(transition, backends))


@pytest.mark.parametrize(
    ("result", "streak", "line"),
    [
        (ProbeResult(True, "", 0.0003), 1, "web/1: 10.0.0.1:80 is up (1 success, 0.3 ms)"),
        (ProbeResult(True, "", 0.0018), 2, "web/1: 10.0.0.1:80 is up (2 successes in a row, 1.8 ms)"),
        (ProbeResult(False, "refused", 1.5), 1, "web/1: 10.0.0.1:80 is down: refused (1 failure, 1500.0 ms)"),
        (ProbeResult(False, "reset", 0), 3, "web/1: 10.0.0.1:80 is down: reset (3 failures in a row, 0.0 ms)"),
    ],
)
def test_transition_is_one_line(result, streak, line):
    assert lines(result, streak) == [line]


def test_names_and_reasons_are_escaped():
    [line] = lines(ProbeResult(False, "a\nb\x1b[2J", 0.001), 1, [BackendKey(b"w\n\xff", b"\x00")])
    assert line == r"w\x0a\xff/\x00: 10.0.0.1:80 is down: a\x0ab\x1b[2J (1 failure, 1.0 ms)"


def test_reason_that_is_no_text_is_reported():
    [line] = lines(ProbeResult(False, "bad \udcff", 0.001), 1)
    assert line.startswith("web/1: 10.0.0.1:80 is down: bad ")


def test_ten_backends_are_named_before_others_share_a_line():
    assert MAX_BACKENDS == 10


def test_backends_beyond_the_limit_share_a_line():
    backends = [BackendKey(b"web", b"%d" % number) for number in range(MAX_BACKENDS + 3)]
    found = lines(ProbeResult(True, "", 0.0003), 1, backends)
    assert len(found) == MAX_BACKENDS + 1
    assert found[-1] == "and 3 more: 10.0.0.1:80 is up (1 success, 0.3 ms)"
    assert len(lines(ProbeResult(True, "", 0.0003), 1, backends[:MAX_BACKENDS])) == MAX_BACKENDS


class FakeMonitor:
    """The state of a monitor, as far as it is reported."""

    frozen = False
    references_trusted = True

    def __len__(self):
        return 12


@pytest.fixture
def monitor():
    return FakeMonitor()


@pytest.fixture
def report(monitor):
    return OutageReport(monitor, "192.0.2.1:53")


def test_nothing_is_reported_without_an_outage(report):
    assert list(report.update(10.0)) == []


def test_freeze_and_its_end_by_a_reference_are_reported_once(report, monitor):
    monitor.frozen = True
    line = (
        "most targets are failing and no reference responds (192.0.2.1:53): "
        "assuming a local outage, freezing 12 verdicts"
    )
    assert list(report.update(10.0)) == [(logging.ERROR, line)]
    assert list(report.update(11.0)) == []
    monitor.frozen = False
    line = "a reference responds: unfreezing verdicts after 2.5 seconds"
    assert list(report.update(12.5)) == [(logging.WARNING, line)]
    assert list(report.update(13.0)) == []


def test_freeze_that_ends_by_passing_targets_is_reported_with_the_references_ignored(report, monitor):
    monitor.frozen = True
    assert len(list(report.update(10.0))) == 1
    monitor.frozen = monitor.references_trusted = False
    assert list(report.update(11.0)) == [
        (logging.WARNING, "most targets are passing: unfreezing verdicts after 1.0 seconds"),
        (logging.ERROR, "no reference responds (192.0.2.1:53): ignoring references until one responds"),
    ]
    assert list(report.update(12.0)) == []
    monitor.references_trusted = True
    assert list(report.update(13.0)) == [(logging.WARNING, "a reference responds: using references again")]


def test_refused_targets_are_one_line_each_with_the_first_backend():
    one, two = (Target(parse_endpoint(f"127.0.0.{n}:80"), HealthCheck(), "not allowed (--health-deny)") for n in (1, 2))
    backends = {one: [BackendKey(b"w\n", b"1")], two: [WEB, BackendKey(b"web", b"2")]}
    assert list(refusal_lines([one, two], backends.get)) == [
        r"w\x0a/1: 127.0.0.1:80 is not probed: not allowed (--health-deny)",
        "web/1: 127.0.0.2:80 is not probed: not allowed (--health-deny) (and 1 more backends)",
    ]


def test_refused_targets_beyond_the_limit_share_a_line():
    refused = [Target(parse_endpoint(f"127.0.0.{n}:80"), HealthCheck(), "no") for n in range(1, MAX_REFUSED + 4)]
    *named, rest = refusal_lines(refused, lambda _: [WEB])
    assert len(named) == MAX_REFUSED
    assert rest == "and 3 more are not probed"
