"""What holds for every kind of probe, with real servers."""

import asyncio
import gc
import os
import resource
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from msgspec.structs import replace

from clusterf.health.probes import Prober, costs, prober
from clusterf.health.probes.base import Probe
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint
from tests.clusterf.support.probe_checks import CHECKS, SHORT, TCP
from tests.clusterf.support.probe_runner import ProbeRunner, open_sockets
from tests.servers import Server, answer, closed_port, full_backlog, hang_up, reset, stay_silent
from tests.waiting import wait_until

TIME_WAIT = "06"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_closed_port_is_refused(runner, check, host):
    with closed_port(host) as nobody:
        result = runner.probe(nobody, check)
    assert (result.ok, result.reason, result.local) == (False, "refused", False)


def test_failure_to_connect_is_reported_after_start_returns(runner, check):
    nowhere = Endpoint(IPv4Address("255.255.255.255").packed, 80)
    assert runner.probe(nowhere, check).reason == "no route"


def states(port: int) -> list[str]:
    """Return the states of all sockets in the kernel whose remote port is `port`."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[3] for row in rows if int(row[2].split(":")[1], 16) == port]


@pytest.mark.parametrize("behaviour", [answer(), hang_up, reset], ids=["answer", "hang up", "reset"])
def test_no_connection_is_left_in_time_wait(runner, check, behaviour):
    with Server(behaviour) as server:
        runner.probe_all([Target(server.endpoint, check)] * 100)
        assert states(server.port).count(TIME_WAIT) == 0


def test_probe_comes_from_the_source_address_of_its_check(runner):
    for kind in ("http", "http client"):
        with Server(answer()) as server:
            check = replace(CHECKS[kind], source4=IPv4Address("127.0.0.9"), source6=IPv6Address("fd00::9"))
            assert runner.probe(server.endpoint, check).ok
            assert server.clients == ["127.0.0.9"]
    with Server(answer(), host="::1") as server:
        assert runner.probe(server.endpoint, replace(TCP, source6=IPv6Address("::1"))).ok


def test_missing_source_address_is_a_local_failure(runner, check, caplog):
    with Server(answer()) as server:
        targets = [Target(server.endpoint, replace(check, source4=IPv4Address("192.0.2.1")))] * 3
        for result in runner.probe_all(targets):
            assert (result.ok, result.local) == (False, True)
            assert result.reason == "no such source address, or out of local ports"
        assert server.accepted == 0
    [warning] = caplog.messages
    assert warning.startswith("health: cannot probe: no such source address")


async def without_descriptors(runner: ProbeRunner, target: Target) -> ProbeResult:
    result = runner.loop.create_future()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        runner.prober.start(target, result.set_result)
        return await result
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_lack_of_descriptors_is_a_local_failure(runner, check, caplog):
    with Server(answer()) as server:
        result = runner.loop.run_until_complete(without_descriptors(runner, Target(server.endpoint, check)))
        assert (result.ok, result.reason, result.local) == (False, "out of file descriptors", True)
        assert runner.probe(server.endpoint, check).ok
    assert "out of file descriptors" in caplog.text


def test_local_failure_is_logged_once_per_period(runner, caplog, monkeypatch):
    with Server(answer()) as server:
        check = replace(TCP, source4=IPv4Address("192.0.2.1"))
        runner.probe_all([Target(server.endpoint, check)] * 5)
        assert len(caplog.messages) == 1
        monkeypatch.setattr(runner.prober._local_errors, "_remind", 0.0)
        runner.probe_all([Target(server.endpoint, check)] * 2)
        assert len(caplog.messages) == 3


def test_probes_beyond_the_limit_wait_and_so_do_their_timeouts(runner, check, monkeypatch):
    monkeypatch.setattr(runner.prober, "_limit", 3)
    most = 0

    def note(prober: Prober) -> None:
        nonlocal most
        most = max(most, prober.under_way)

    with full_backlog() as busy:
        target = Target(busy, replace(check, timeout=SHORT))
        begin = runner.prober._begin
        monkeypatch.setattr(runner.prober, "_begin", lambda *begun: (begin(*begun), note(runner.prober)))
        results = runner.probe_all([target] * 10)
    assert most == 3
    assert [result.reason for result in results] == ["timeout"] * 10
    assert all(SHORT * 0.9 < result.duration < SHORT + 0.5 for result in results)


@pytest.mark.process
def test_more_targets_than_descriptors_are_all_probed():
    script = Path(__file__).parents[2] / "support" / "few_descriptors.py"
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr, run.returncode) == ("timeout 300\n", "", 0)


def test_soft_limit_of_descriptors_is_raised_to_the_hard_one():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1] - 1, limits[1]))
    try:
        loop = asyncio.new_event_loop()
        Prober(loop)
        loop.close()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limits[1], limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_done_may_start_the_next_probe(runner, check):
    async def three_in_a_row(target: Target) -> list[bool]:
        results = []
        last = runner.loop.create_future()

        def done(result):
            results.append(result.ok)
            if len(results) < 3:
                runner.prober.start(target, done)
            else:
                last.set_result(results)

        runner.prober.start(target, done)
        return await last

    with Server(answer()) as server:
        target = Target(server.endpoint, check)
        assert runner.loop.run_until_complete(asyncio.wait_for(three_in_a_row(target), 10)) == [True] * 3


def test_exception_in_done_affects_no_other_probe(runner, check, monkeypatch):
    monkeypatch.setattr(runner.prober, "_limit", 1)
    failures = []
    runner.loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    with Server(answer()) as server:
        target = Target(server.endpoint, check)
        runner.prober.start(target, lambda _: 1 / 0)
        assert runner.probe(server.endpoint, check).ok
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


@pytest.mark.parametrize("moment", ["at once", "later"])
def test_done_is_not_called_after_close(runner, check, moment, monkeypatch):
    monkeypatch.setattr(runner.prober, "_limit", 10)
    with Server(stay_silent) as server, full_backlog() as busy, closed_port() as nobody:
        # at once: some of them have a result soon
        endpoints = [busy] if moment == "later" else [server.endpoint, busy, nobody]
        for endpoint in endpoints:
            for _ in range(5):
                runner.prober.start(Target(endpoint, replace(check, timeout=SHORT)), pytest.fail)
        if moment == "later":
            runner.loop.run_until_complete(asyncio.sleep(0))
        runner.prober.close()
        assert (runner.prober.under_way, runner.prober.waiting) == (0, 0)
        runner.loop.run_until_complete(asyncio.sleep(2 * SHORT))
        assert server.accepted == 0 or not check.redirects, "no probe starts after close"


def test_thousands_of_probes_leave_nothing_behind(runner, check):
    with Server(answer()) as good, Server(reset) as bad, closed_port() as nobody:
        few = 100 if check.redirects else 600
        targets = [Target(endpoint, check) for endpoint in (good.endpoint, bad.endpoint, nobody)]
        before = open_sockets()
        for _ in range(2):
            results = runner.probe_all(targets * few)
            assert {result.reason for result in results} <= {"", "reset", "refused"}
        assert sum(result.ok for result in results) >= few
        wait_until(lambda: runner.drained() and open_sockets() <= before)
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Probe)]


def test_result_says_what_the_probe_has_cost(runner, check):
    with Server(answer()) as server:
        before = time.thread_time()
        results = runner.probe_all([Target(server.endpoint, check)] * 50)
        spent = time.thread_time() - before
    assert all(result.cost > 0 for result in results)
    assert spent / 4 < sum(result.cost for result in results) < spent


def test_busy_process_names_what_it_is_busy_with(runner, check, monkeypatch, caplog):
    monkeypatch.setattr(costs, "_BUSY", 0.0)
    monkeypatch.setattr(prober, "PERIOD", 0.01)
    busy = Prober(runner.loop)
    with Server(answer()) as server:
        ended = runner.loop.create_future()
        busy.start(Target(server.endpoint, check), ended.set_result)
        runner.loop.run_until_complete(ended)
        wait_until(lambda: runner.drained() and "most of it for" in caplog.text)
    busy.close()
    [line] = caplog.messages
    assert line.startswith("health: this process is busy: ")
