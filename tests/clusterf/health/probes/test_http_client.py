"""Probes by aiohttp of real servers: of HTTPS, with good and bad certificates. (Those of HTTP are in test_http.)"""

import gc
import os
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest

from clusterf.config.model import HealthCheck, Tls
from clusterf.health.probes.base import Probe
from clusterf.health.probes.reasons import STALLED
from clusterf.health.probes.tls_transport import TlsTransport
from clusterf.health.targets import Target
from tests.clusterf.support.probe_runner import open_sockets, probe_runner
from tests.servers import (
    Authority,
    Connection,
    Server,
    answer,
    answer_slowly,
    answer_without_end,
    closed_port,
    hang_up,
    only_for_host,
    reset,
    say,
    stay_silent,
)
from tests.waiting import wait_until

SHORT = 0.2  # seconds, for probes that are to time out
LOOPBACK = "127.0.0.1"


def https(authority: Authority, *, host: str = "", server_name: str = "", timeout: float = 5, **fields) -> HealthCheck:
    tls = Tls(ca=str(authority.pem), server_name=server_name)
    return HealthCheck(type="https", host=host, tls=tls, timeout=timeout, **fields)


def test_certificate_for_the_address_passes(runner, authority):
    with Server(answer(), tls=authority.good(LOOPBACK)) as server:
        assert runner.probe(server.endpoint, https(authority, expect="hello")).ok
        assert server.accepted == 1
    with Server(answer(), host="::1", tls=authority.good("::1")) as server:
        assert runner.probe(server.endpoint, https(authority)).ok


def test_certificate_has_to_be_for_the_server_name_or_else_the_host(runner, authority):
    with Server(only_for_host("www.example.com:8443"), tls=authority.good("www.example.com")) as server:
        assert runner.probe(server.endpoint, https(authority, host="www.example.com:8443")).ok
    with Server(only_for_host("www.example.com"), tls=authority.good("name.example.com")) as server:
        check = https(authority, host="www.example.com", server_name="name.example.com")
        assert runner.probe(server.endpoint, check).ok
        assert runner.probe(server.endpoint, https(authority, host="www.example.com")).reason == "TLS: wrong name"
    with Server(answer(), tls=authority.good("10.9.9.9")) as server:
        assert runner.probe(server.endpoint, https(authority, server_name="10.9.9.9")).ok


def test_sni_has_a_name_but_never_an_address(runner, authority):
    names = []
    context = authority.good("www.example.com", LOOPBACK)
    context.sni_callback = lambda _, name, __: names.append(name)
    with Server(answer(), tls=context) as server:
        assert runner.probe(server.endpoint, https(authority, host="www.example.com")).ok
        assert runner.probe(server.endpoint, https(authority)).ok
    assert names == ["www.example.com", None]


def test_bad_certificate_fails_with_a_reason(runner, authority, tmp_path):
    other = Authority(tmp_path)
    for context, reason in (
        (authority.expired(LOOPBACK), "TLS: certificate expired"),
        (authority.good("www.example.com"), "TLS: wrong name"),
        (authority.good("127.0.0.2"), "TLS: wrong name"),
        (authority.self_signed(tmp_path, LOOPBACK), "TLS: self-signed certificate"),
        (other.good(LOOPBACK), "TLS: unknown authority"),
    ):
        with Server(answer(), tls=context) as server:
            result = runner.probe(server.endpoint, https(authority))
            assert (result.ok, result.reason, result.local) == (False, reason, False)
            assert server.requests == [], "no request is sent to the wrong server"


def test_authorities_of_the_system_are_the_default(runner, authority):
    with Server(answer(), tls=authority.good(LOOPBACK)) as server:
        assert runner.probe(server.endpoint, HealthCheck(type="https", timeout=5)).reason == "TLS: unknown authority"


def test_any_certificate_passes_without_verification(runner, authority, tmp_path):
    check = HealthCheck(type="https", tls=Tls(verify=False, ca="/nonexistent"), timeout=5)
    for context in (authority.expired("x"), authority.self_signed(tmp_path, "10.0.0.1")):
        with Server(answer(), tls=context) as server:
            assert runner.probe(server.endpoint, check).ok
            odd = HealthCheck(type="https", host="a..b", tls=Tls(verify=False), timeout=5)
            assert runner.probe(server.endpoint, odd).ok


def test_invalid_host_name_cannot_be_verified(runner, authority):
    with Server(answer(), tls=authority.good(LOOPBACK)) as server:
        reason = runner.probe(server.endpoint, https(authority, host="a..b")).reason
        assert reason == "TLS: host is not a valid name"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        pytest.param(answer(503), "HTTP 503", id="503"),
        pytest.param(answer(200, b"bye"), "body: expect not found", id="another body"),
        pytest.param(
            answer_without_end(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), "body: longer than 64 KiB", id="endless"
        ),
        pytest.param(say(b"\x00" * 100), "not HTTP", id="garbage"),
        pytest.param(hang_up, "closed", id="no answer"),
        pytest.param(reset, "reset", id="reset"),
        pytest.param(stay_silent, "timeout", id="silence"),
        pytest.param(answer_slowly(b"HTTP/1.1 200 OK\r\n"), "timeout", id="slow headers"),
    ],
)
def test_failures_after_the_handshake_have_the_reasons_of_http(runner, authority, behaviour, reason):
    with Server(behaviour, tls=authority.good(LOOPBACK)) as server:
        check = https(authority, expect="hello", timeout=SHORT if reason == "timeout" else 5)
        assert runner.probe(server.endpoint, check).reason == reason


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        pytest.param(stay_silent, "timeout", id="silence"),
        pytest.param(hang_up, "closed", id="hang up"),
        pytest.param(lambda connection: connection.say(b"HTTP/1.0 400 No\r\n\r\n" * 9), "TLS: not TLS", id="HTTP"),
        pytest.param(lambda connection: connection.say(b"SSH-2.0-OpenSSH\r\n"), "TLS: not TLS", id="SSH"),
    ],
)
def test_server_without_tls_fails_with_a_reason(runner, authority, behaviour, reason):
    def wait_for_hello(connection: Connection) -> None:
        connection.socket.recv(65536)
        if behaviour is not hang_up:
            behaviour(connection)

    with Server(wait_for_hello) as server:
        check = https(authority, timeout=SHORT if reason == "timeout" else 5)
        assert runner.probe(server.endpoint, check).reason == reason
    with closed_port() as nobody:
        assert runner.probe(nobody, https(authority)).reason == "refused"


def test_server_that_requires_a_client_certificate_fails(runner, authority):
    context = authority.good(LOOPBACK)
    context.verify_mode = ssl.CERT_REQUIRED
    with Server(answer(), tls=context) as server:
        reason = runner.probe(server.endpoint, https(authority)).reason
    assert reason in ("TLS: tlsv13 alert certificate required", "reset", "closed")


def test_server_that_ignores_the_end_of_tls_keeps_no_connection_open(runner, authority):
    one = answer_slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    with Server(one, tls=authority.good(LOOPBACK)) as server:
        before = open_sockets()
        for _ in range(5):
            assert runner.probe(server.endpoint, https(authority)).ok
        # the ends of the server are still open, one for each
        wait_until(lambda: runner.drained() and open_sockets() <= before + server.accepted)


def test_probe_without_authorities_says_nothing_about_the_target(runner, authority, tmp_path):
    check = HealthCheck(type="https", tls=Tls(ca=str(tmp_path / "none")), timeout=5)
    with Server(answer(), tls=authority.good(LOOPBACK)) as server:
        result = runner.probe(server.endpoint, check)
        assert (result.ok, result.reason, result.local) == (False, "TLS: ca: no such file or directory", True)
        assert server.accepted == 0
    bad_name = runner.probe(server.endpoint, https(authority, host="a..b"))
    assert not bad_name.local


@pytest.mark.parametrize(
    ("behaviour", "good", "reason"),
    [
        pytest.param(stay_silent, True, "timeout", id="silent after the handshake"),
        pytest.param(answer(), False, "TLS: certificate expired", id="bad certificate"),
        pytest.param(say(b"garbage\r\n\r\n"), True, "not HTTP", id="garbage"),
    ],
)
def test_failure_leaves_no_reference_cycle(authority, behaviour, good, reason):
    context = authority.good(LOOPBACK) if good else authority.expired(LOOPBACK)
    gc.collect()
    gc.disable()
    try:
        with probe_runner() as runner, Server(behaviour, tls=context) as server:
            assert runner.probe(server.endpoint, https(authority, timeout=SHORT)).reason == reason
        assert not [each for each in gc.get_objects() if isinstance(each, Probe | TlsTransport)]
    finally:
        gc.enable()


def test_timeout_at_any_point_of_a_handshake_is_quiet(authority):
    with probe_runner() as runner, Server(answer(), tls=authority.good(LOOPBACK)) as server:
        # a busy loop makes responses and timeouts coincide
        def keep_busy() -> None:
            time.sleep(0.02)
            runner.loop.call_later(0.001, keep_busy)

        runner.loop.call_soon(keep_busy)
        targets = [Target(server.endpoint, https(authority, timeout=0.001 * ms)) for ms in range(20, 120)]
        results = runner.probe_all(targets)
        # (a timeout that is noticed too late counts for nothing)
        assert {result.reason for result in results} <= {"", "timeout", STALLED}
        assert any(result.reason in {"timeout", STALLED} for result in results)


def test_receive_buffer_is_small(runner):
    check = HealthCheck(type="http", redirects=1)
    sizes = []

    def measure(connection: Connection) -> None:
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as other:
                if other.getsockname() == connection.socket.getpeername():
                    sizes.append(other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
        answer()(connection)

    with Server(measure) as server:
        assert runner.probe(server.endpoint, check).ok
    assert len(sizes) == 1
    assert sizes[0] <= 32 << 10
