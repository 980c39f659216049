import asyncio
import errno
from time import monotonic

import pytest
from msgspec.structs import replace

from clusterf.health.probes import base, reasons
from clusterf.health.probes.base import Probe
from clusterf.health.probes.pauses import Pauses
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import parse_endpoint
from tests.clusterf.support.probe_checks import SHORT, TCP
from tests.clusterf.support.probe_runner import ProbeRunner
from tests.servers import Server, answer, closed_port
from tests.waiting import wait_until


async def stalled(runner: ProbeRunner, target: Target, seconds: float) -> ProbeResult:
    """Probe, and let the loop not run for a while, again and again."""
    result = runner.loop.create_future()
    runner.prober.start(target, result.set_result)
    while not result.done():
        until = monotonic() + seconds
        wait_until(lambda until=until: monotonic() > until)
        await asyncio.sleep(0.01)
    return await result


@pytest.mark.parametrize("stall", [1.05, 1.5, 4])
def test_target_that_answers_has_not_failed_by_stalls_of_the_process(runner, check, stall):
    with Server(answer()) as server:
        target = Target(server.endpoint, replace(check, timeout=SHORT))
        result = runner.loop.run_until_complete(stalled(runner, target, stall * SHORT))
    assert result.ok, result


def test_target_has_its_time_beside_the_stalls_of_the_process(runner, results, probe):
    probe.begin()
    until = monotonic() + 3 * SHORT
    wait_until(lambda: monotonic() > until)
    ended = monotonic()
    wait_until(lambda: runner.drained() and results)
    assert [(result.reason, result.local) for result in results] == [("timeout", False)]
    assert monotonic() - ended > SHORT * 0.3


def test_stalls_for_too_long_are_a_local_failure(runner, results, probe, monkeypatch):
    monkeypatch.setattr(base, "_LONGEST_PAUSE", 2 * SHORT)
    probe.begin()
    until = monotonic() + 4 * SHORT
    wait_until(lambda: monotonic() > until)
    wait_until(lambda: runner.drained() and results)
    assert [(result.reason, result.local) for result in results] == [("the probing process was stalled", True)]


def test_reason_is_escaped_and_cut(runner, monkeypatch):
    # a reason of OpenSSL may contain a name from the configuration
    monkeypatch.setattr(reasons, "of_errno", lambda _: "x\n\x1b[2J" + "y" * 1000)
    with closed_port() as nobody:
        reason = runner.probe(nobody, TCP).reason
    assert reason.startswith(r"x\x0a\x1b[2Jyyy")
    assert len(reason) == 200


class FakeProbe(Probe):
    """A probe that waits for the test to end it."""

    released = 0

    def _open(self) -> None:
        pass

    def _release(self) -> None:
        self.released += 1


@pytest.fixture
def results() -> list[ProbeResult]:
    return []


@pytest.fixture
def probe(runner, results) -> Probe:
    target = Target(parse_endpoint("127.0.0.1:80"), replace(TCP, timeout=SHORT))
    return FakeProbe(runner.loop, target, lambda _, result: results.append(result), Pauses(runner.loop))


def test_probe_has_one_result(probe, results):
    probe.begin()
    probe._succeed()
    probe._fail("reset")
    assert [(result.ok, result.reason) for result in results] == [(True, "")]
    assert probe.released == 1


def test_abandoned_probe_has_no_result(probe, results):
    probe.begin()
    assert probe.abandon()
    assert not probe.abandon()
    probe._fail("reset")
    assert results == []
    assert probe.released == 1


def test_probe_times_out(runner, probe, results):
    probe.begin()
    wait_until(lambda: runner.drained() and results)
    assert [(result.ok, result.reason, result.local) for result in results] == [(False, "timeout", False)]
    assert results[0].duration >= SHORT * 0.9


def test_error_on_start_is_a_result_of_the_next_iteration(runner, probe, results, monkeypatch):
    def fail(_):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    monkeypatch.setattr(FakeProbe, "_open", fail)
    probe.begin()
    assert results == []
    runner.drained()
    assert [result.reason for result in results] == ["refused"]
