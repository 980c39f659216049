"""TLS of our own, between probes and real servers, also such as want to keep this process busy."""

import hashlib
import ssl
import time

import pytest
import trustme
from msgspec.structs import replace

from clusterf.config.model import HealthCheck, Tls
from clusterf.health.probes import base, handshakes
from clusterf.health.probes.reasons import STALLED, TIMEOUT
from clusterf.health.probes.tls_transport import HANDSHAKE_TOO_LONG, MAX_HANDSHAKE
from clusterf.health.targets import Target
from tests.clusterf.support.hostile_tls import EXPENSIVE, expensive_certificates, expensive_group
from tests.servers import Server, answer, hang_up
from tests.waiting import wait_until

HTTPS = HealthCheck(type="https", tls=Tls(verify=False), timeout=10)
HOSTILE = "127.0.0.2"
PROMPT = 0.5  # seconds that a good probe takes at most, also on a machine that has other things to do


@pytest.fixture
def runner(runner, monkeypatch):
    # else threads would not get done on a machine that has other things to do
    monkeypatch.setattr(handshakes, "_LEAST", 1)
    yield runner
    wait_until(lambda: runner.drained() and not runner.prober._handshakes._slow, 60)


@pytest.fixture
def others(authority):
    """Targets that have done nothing wrong."""
    tls = Tls(ca=str(authority.pem))
    with Server(answer()) as plain, Server(answer(), tls=authority.good("127.0.0.1")) as secure:
        yield [
            Target(plain.endpoint, HealthCheck(type="http", timeout=PROMPT)),
            Target(secure.endpoint, HealthCheck(type="https", tls=tls, timeout=PROMPT)),
        ]


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    ("behaviour", "count"),
    [
        pytest.param(expensive_certificates(6), 1, id="one long handshake"),
        pytest.param(expensive_certificates(1), 6, id="six short ones"),
        pytest.param(expensive_group, 8, id="large groups"),
    ],
)
def test_no_other_probe_waits_while_a_handshake_takes_long(runner, others, caplog, verify, behaviour, count):
    check = replace(HTTPS, tls=Tls(verify=verify), timeout=2.0)
    with Server(behaviour, host=HOSTILE) as hostile:
        assert all(result.ok for result in runner.probe_all(others))
        results, ends, until = [], [], time.monotonic() + 1
        for number in range(count):
            runner.prober.start(Target(hostile.endpoint, replace(check, path=f"/{number}")), ends.append)
        while time.monotonic() < until:
            results += runner.probe_all(others)
        assert {result.reason for result in results} == {""}
        assert len(results) >= 6
        wait_until(lambda: runner.drained() and len(ends) == count, 30)
    assert not any(result.ok for result in ends)
    assert f"health: a TLS handshake with {HOSTILE}:" in caplog.text


def test_target_whose_handshake_takes_longer_than_its_timeout_has_failed(runner):
    with Server(expensive_certificates(3), host=HOSTILE) as hostile:
        result = runner.probe(hostile.endpoint, replace(HTTPS, timeout=0.2))
    assert (result.reason, result.local) == (TIMEOUT, False)


def test_probe_that_only_waits_for_a_thread_says_nothing_about_the_target(runner, authority, monkeypatch):
    monkeypatch.setattr(base, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(handshakes, "_LONG", 60)
    monkeypatch.setattr(handshakes, "_PROMPT", 1)
    with (
        Server(expensive_certificates(6), host=HOSTILE) as hostile,
        Server(answer(), tls=authority.good("127.0.0.1")) as good,
    ):
        ends = []
        runner.prober.start(Target(hostile.endpoint, HTTPS), ends.append)
        wait_until(lambda: runner.drained() or runner.prober._handshakes._busy)
        result = runner.probe(good.endpoint, replace(HTTPS, timeout=0.2))
        assert (result.reason, result.local) == (STALLED, True)
        wait_until(lambda: runner.drained() and ends, 30)
        assert runner.probe(good.endpoint, HTTPS).ok


def test_cost_of_a_handshake_is_counted_as_the_targets(runner):
    with Server(expensive_certificates(1), host=HOSTILE) as hostile:
        assert runner.probe(hostile.endpoint, replace(HTTPS, timeout=3)).cost > 0.1


def test_chain_of_reasonable_length_passes_and_no_longer_one(runner, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert(HOSTILE).private_key_and_cert_chain_pem.bytes()
    one = authority.cert_pem.bytes()
    length = len(ssl.PEM_cert_to_DER_cert(one.decode()))
    for most, reason in ((MAX_HANDSHAKE - 4000, ""), (MAX_HANDSHAKE, HANDSHAKE_TOO_LONG)):
        file = tmp_path / "chain.pem"
        file.write_bytes(certificate + one * (most // length))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        with Server(answer(), host=HOSTILE, tls=context) as server:
            assert runner.probe(server.endpoint, HTTPS).reason == reason


def test_server_that_asks_for_another_handshake_gets_none(runner, authority):
    """It would be done in the loop's thread."""
    contexts = runner.prober._contexts
    assert contexts.get(Tls(verify=False)).options & ssl.OP_NO_RENEGOTIATION
    assert contexts.get(Tls()).options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_long_request_and_response_pass(runner, authority, version):
    body, seen = b"a" * 60000 + b"hello", []

    def respond(connection):
        seen.append(hashlib.sha256(connection.request().partition(b"\r\n\r\n")[2]).digest())
        connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    context = authority.good("127.0.0.1")
    context.minimum_version = context.maximum_version = version
    check = replace(HTTPS, method="POST", body="b" * 50000, expect="hello", tls=Tls(ca=str(authority.pem)))
    with Server(respond, tls=context) as server:
        assert runner.probe(server.endpoint, check).ok
    assert seen == [hashlib.sha256(b"b" * 50000).digest()]


def test_response_that_ends_with_the_connection_passes(runner, authority):
    def respond(connection):
        connection.request()
        connection.say(b"HTTP/1.1 200 OK\r\n\r\nhello")

    with Server(respond, tls=authority.good("127.0.0.1")) as server:
        assert runner.probe(server.endpoint, replace(HTTPS, expect="hello")).ok


def test_server_that_breaks_off_has_the_reason_of_http(runner, authority):
    def part(connection):
        connection.socket.recv(65536)
        connection.say(b"\x16\x03\x03\x02\0\x02")

    for server in (Server(hang_up, tls=authority.good("127.0.0.1")), Server(part)):
        with server:
            assert runner.probe(server.endpoint, HTTPS).reason == "closed"


def test_certificates_are_as_expensive_as_these_tests_need():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    before = time.thread_time()
    context.load_verify_locations(cadata=EXPENSIVE)
    assert time.thread_time() - before > 0.1
