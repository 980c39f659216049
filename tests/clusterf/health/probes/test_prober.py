"""TCP probes, and what holds for every kind of probe, with real servers."""

import asyncio
import errno
import gc
import os
import resource
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from time import monotonic

import pytest

from clusterf.config.model import HealthCheck
from clusterf.health.probes import Prober, reasons
from clusterf.health.probes import base as probe
from clusterf.health.probes.base import Probe
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint
from tests.clusterf.support.probe_runner import ProbeRunner, open_sockets
from tests.servers import Server, answer, closed_port, full_backlog, hang_up, reset, stay_silent
from tests.waiting import wait_until

SHORT = 0.1  # seconds, for what cannot be answered in time
TCP = HealthCheck()
TIME_WAIT = "06"
KINDS = {
    "tcp": TCP,
    "plain": HealthCheck(type="http"),
    "full": HealthCheck(type="http", redirects=1),
}


@pytest.fixture(params=KINDS)
def check(request: pytest.FixtureRequest) -> HealthCheck:
    return KINDS[request.param]


def with_fields(check: HealthCheck, **fields: object) -> HealthCheck:
    return HealthCheck(**{name: getattr(check, name) for name in check.__struct_fields__} | fields)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_accepts_connections_is_up(runner, host):
    with Server(stay_silent, host=host) as server:
        result = runner.probe(server.endpoint, TCP)
    assert (result.ok, result.reason, result.local) == (True, "", False)
    assert 0 < result.duration < 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_nobody_listens_on_refuses(runner, check, host):
    with closed_port(host) as nobody:
        result = runner.probe(nobody, check)
    assert (result.ok, result.reason, result.local) == (False, "refused", False)


def test_who_listens_and_does_not_accept_is_not_up(runner):
    with full_backlog() as busy:
        result = runner.probe(busy, with_fields(TCP, timeout=SHORT))
    assert (result.ok, result.reason) == (False, "timeout")
    assert SHORT * 0.9 < result.duration < SHORT + 1


def test_what_cannot_even_be_tried_fails_not_before_start_returns(runner, check):
    nowhere = Endpoint(IPv4Address("255.255.255.255").packed, 80)
    assert runner.probe(nowhere, check).reason == "no route"


def states(port: int) -> list[str]:
    """Return the states of the kernel's sockets, ours or not, whose other end is that port of loopback."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[3] for row in rows if int(row[2].split(":")[1], 16) == port]


@pytest.mark.parametrize("behaviour", [answer(), hang_up, reset], ids=["answer", "hang up", "reset"])
def test_no_probe_leaves_its_connection_in_time_wait(runner, check, behaviour):
    with Server(behaviour) as server:
        runner.probe_all([Target(server.endpoint, check)] * 100)
        assert states(server.port).count(TIME_WAIT) == 0


def test_a_program_hardly_ever_hears_of_a_tcp_probe(runner):
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        target = Target(Endpoint(IPv4Address("127.0.0.1").packed, listener.getsockname()[1]), TCP)
        for _ in range(10):
            assert all(result.ok for result in runner.probe_all([target] * 10))
        assert accepted(listener) < 50


def accepted(listener: socket.socket) -> int:
    """Accept all connections that wait, also those that were reset meanwhile, and count them."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


def test_the_source_of_a_probe_may_be_chosen(runner):
    for kind in ("plain", "full"):
        with Server(answer()) as server:
            check = with_fields(KINDS[kind], source4=IPv4Address("127.0.0.9"), source6=IPv6Address("fd00::9"))
            assert runner.probe(server.endpoint, check).ok
            assert server.clients == ["127.0.0.9"]
    with Server(answer(), host="::1") as server:
        assert runner.probe(server.endpoint, with_fields(TCP, source6=IPv6Address("::1"))).ok


def test_a_source_that_this_machine_has_not_says_nothing_about_the_target(runner, check, caplog):
    with Server(answer()) as server:
        targets = [Target(server.endpoint, with_fields(check, source4=IPv4Address("192.0.2.1")))] * 3
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


def test_a_lack_of_descriptors_says_nothing_about_the_target(runner, check, caplog):
    with Server(answer()) as server:
        result = runner.loop.run_until_complete(without_descriptors(runner, Target(server.endpoint, check)))
        assert (result.ok, result.reason, result.local) == (False, "out of file descriptors", True)
        assert runner.probe(server.endpoint, check).ok
    assert "out of file descriptors" in caplog.text


async def held_up(runner: ProbeRunner, target: Target) -> ProbeResult:
    result = runner.loop.create_future()
    runner.prober.start(target, result.set_result)
    until = monotonic() + 4 * SHORT
    wait_until(lambda: monotonic() > until)
    return await result


def test_a_pause_of_the_process_says_nothing_about_the_target(runner, check, monkeypatch):
    monkeypatch.setattr(probe, "_LATE", 0.0)
    with Server(answer()) as server:
        result = runner.loop.run_until_complete(
            held_up(runner, Target(server.endpoint, with_fields(check, timeout=SHORT)))
        )
    # what was answered meanwhile may be there to be read
    assert result.ok or (result.reason, result.local) == ("the probing process was stalled", True)


def test_a_trouble_of_this_machine_is_told_again_after_a_while_only(runner, caplog, monkeypatch):
    with Server(answer()) as server:
        check = with_fields(TCP, source4=IPv4Address("192.0.2.1"))
        runner.probe_all([Target(server.endpoint, check)] * 5)
        assert len(caplog.messages) == 1
        monkeypatch.setattr(runner.prober._local_errors, "_remind", 0.0)
        runner.probe_all([Target(server.endpoint, check)] * 2)
        assert len(caplog.messages) == 3


def test_probes_beyond_the_limit_wait_and_their_time_with_them(runner, check, monkeypatch):
    monkeypatch.setattr(runner.prober, "_limit", 3)
    most = 0

    def seen(prober: Prober) -> None:
        nonlocal most
        most = max(most, prober.under_way)

    with full_backlog() as busy:
        target = Target(busy, with_fields(check, timeout=SHORT))
        begin = runner.prober._begin
        monkeypatch.setattr(runner.prober, "_begin", lambda *begun: (begin(*begun), seen(runner.prober)))
        results = runner.probe_all([target] * 10)
    assert most == 3
    assert [result.reason for result in results] == ["timeout"] * 10
    assert all(SHORT * 0.9 < result.duration < SHORT + 0.5 for result in results)


def test_more_targets_than_descriptors_are_all_probed():
    script = Path(__file__).parents[2] / "support" / "few_descriptors.py"
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr, run.returncode) == ("timeout 300\n", "", 0)


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may():
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


def test_a_done_that_fails_harms_no_other_probe(runner, check, monkeypatch):
    monkeypatch.setattr(runner.prober, "_limit", 1)
    failures = []
    runner.loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    with Server(answer()) as server:
        target = Target(server.endpoint, check)
        runner.prober.start(target, lambda _: 1 / 0)
        assert runner.probe(server.endpoint, check).ok
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


@pytest.mark.parametrize("moment", ["at once", "later"])
def test_nothing_is_heard_of_probes_that_are_given_up(runner, check, moment, monkeypatch):
    monkeypatch.setattr(runner.prober, "_limit", 10)
    with Server(stay_silent) as server, full_backlog() as busy, closed_port() as nobody:
        # of some there is soon something to be heard
        endpoints = [busy] if moment == "later" else [server.endpoint, busy, nobody]
        for endpoint in endpoints:
            for _ in range(5):
                runner.prober.start(Target(endpoint, with_fields(check, timeout=SHORT)), pytest.fail)
        if moment == "later":
            runner.loop.run_until_complete(asyncio.sleep(0))
        runner.prober.close()
        assert (runner.prober.under_way, runner.prober.waiting) == (0, 0)
        runner.loop.run_until_complete(asyncio.sleep(2 * SHORT))
        assert server.accepted == 0 or not check.redirects, "what has not begun does not begin"


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


def test_words_for_what_the_system_says():
    assert reasons.of_errno(errno.ECONNREFUSED) == "refused"
    assert reasons.of_errno(errno.ECONNRESET) == "reset"
    assert reasons.of_errno(errno.EHOSTUNREACH) == "no route"
    assert reasons.of_errno(errno.EINVAL) == "no route"
    assert reasons.of_errno(errno.ETIMEDOUT) == "timeout"
    assert reasons.of_errno(errno.EPROTO) == "protocol error"
    assert reasons.of_errno(None) == "closed"
    assert [reasons.is_local(error) for error in (errno.EMFILE, errno.ENOBUFS, errno.ECONNREFUSED, None)] == [
        *(True, True),
        *(False, False),
    ]


def test_words_for_what_tls_says():
    def says(reason: str | None) -> str:
        error = ssl.SSLError(1, "")
        error.reason = reason
        return reasons.of_tls(error)

    assert says("WRONG_VERSION_NUMBER") == "TLS: not TLS"
    assert says("TLSV1_ALERT_PROTOCOL_VERSION") == "TLS: tlsv1 alert protocol version"
    assert says(None) == "TLS: failed"
    assert reasons.of_tls(ssl.SSLEOFError()) == "TLS: closed"


def test_a_reason_is_a_line_of_bounded_length(runner, monkeypatch):
    # that of OpenSSL may hold a name of the configuration
    monkeypatch.setattr(reasons, "of_errno", lambda _: "x\n\x1b[2J" + "y" * 1000)
    with closed_port() as nobody:
        reason = runner.probe(nobody, TCP).reason
    assert reason.startswith(r"x\x0a\x1b[2Jyyy")
    assert len(reason) == 200
