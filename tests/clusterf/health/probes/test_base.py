import errno
from time import monotonic

import pytest
from msgspec.structs import replace

from clusterf.health.probes import base, reasons
from clusterf.health.probes.base import Probe
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import parse_endpoint
from tests.clusterf.support.probe_checks import SHORT, TCP
from tests.clusterf.support.probe_runner import ProbeRunner
from tests.servers import Server, answer, closed_port
from tests.waiting import wait_until


async def stalled(runner: ProbeRunner, target: Target) -> ProbeResult:
    result = runner.loop.create_future()
    runner.prober.start(target, result.set_result)
    until = monotonic() + 4 * SHORT
    wait_until(lambda: monotonic() > until)
    return await result


def test_timeout_after_a_stall_of_the_process_is_a_local_failure(runner, check, monkeypatch):
    monkeypatch.setattr(base, "_LATE", 0.0)
    with Server(answer()) as server:
        result = runner.loop.run_until_complete(stalled(runner, Target(server.endpoint, replace(check, timeout=SHORT))))
    # a response that came meanwhile may be read before the timeout is noticed
    assert result.ok or (result.reason, result.local) == ("the probing process was stalled", True)


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
    return FakeProbe(runner.loop, target, lambda _, result: results.append(result))


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
