"""Bounds on hostile responses, by TLS and without, by both kinds of HTTP probes, of real servers."""

import errno
import socket
import time

import pytest

from clusterf.config.model import HealthCheck, Tls
from clusterf.health.probes.bounded import MAX_READ, TOO_MUCH, BoundedSocket
from clusterf.health.probes.http_request import MAX_FRAMING, MAX_INTERIM
from clusterf.health.probes.tls_transport import HANDSHAKE_TOO_LONG
from tests.servers import Server, answer_without_end, say

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
CPU = 0.1  # seconds of a probe, at most; it is a tenth of that at rest
PLAIN, CLIENT, SECURE = "plain", "client", "TLS"


@pytest.fixture(params=[PLAIN, CLIENT, SECURE])
def probe(request, runner, authority):
    """Return the result of a probe of a server that behaves like this, and the CPU seconds that it has cost."""

    def probe(behaviour, *, timeout=10.0, **fields):
        secure = request.param == SECURE
        tls = {"type": "https", "tls": Tls(ca=str(authority.pem))} if secure else {"type": "http"}
        redirects = {"redirects": 1} if request.param == CLIENT else {}
        check = HealthCheck(**tls, **redirects, timeout=timeout, **fields)
        with Server(behaviour, tls=authority.good("127.0.0.1") if secure else None) as server:
            before = time.thread_time()
            result = runner.probe(server.endpoint, check)
            return result, time.thread_time() - before

    return probe


@pytest.mark.parametrize(
    ("head", "more", "reason"),
    [
        pytest.param(b"", INTERIM * 100, "1xx: more than 64 responses", id="1xx"),
        pytest.param(
            b"", b"HTTP/1.1 103 \r\nLink: " + b"a" * 900 + b"\r\n\r\n", "headers: longer than 32 KiB", id="103"
        ),
        pytest.param(b"HTTP/1.1 200 ", b"a" * 1000, "headers: longer than 32 KiB", id="first line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: ", b"a" * 1000, "headers: longer than 32 KiB", id="header"),
        pytest.param(CHUNKED, b"1\r\na\r\n" * 100, "body: longer than 64 KiB", id="chunks of a byte"),
        pytest.param(CHUNKED, b"1;" + b"a" * 1000 + b"\r\na\r\n", "body: longer than 64 KiB", id="extensions"),
        pytest.param(CHUNKED + b"1;", b"a" * 1000, "body: longer than 64 KiB", id="extension"),
        pytest.param(CHUNKED, b"3e8\r\n" + b"a" * 1000 + b"\r\n", "body: longer than 64 KiB", id="body"),
    ],
)
def test_endless_response_ends_the_probe_soon_and_costs_little(probe, head, more, reason):
    result, cpu = probe(answer_without_end(head, more), expect="never")
    assert (result.ok, result.reason, result.local) == (False, reason, False)
    assert result.duration < 5
    assert cpu < CPU


@pytest.mark.parametrize(
    "more", [pytest.param(b"a: b\r\n" * 100, id="headers"), pytest.param(b"\r\n" * 100, id="empty lines")]
)
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", CHUNKED + b"0\r\n", b""])
def test_endless_lines_end_the_probe_soon_and_cost_little(probe, head, more):
    result, cpu = probe(answer_without_end(head, more), expect="never")
    assert not result.ok
    assert result.duration < 5
    assert cpu < CPU


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(INTERIM * MAX_INTERIM + OK, id="1xx"),
        pytest.param(CHUNKED + b"1\r\na\r\n" * (MAX_FRAMING // 5 - 100) + b"5\r\nhello\r\n0\r\n\r\n", id="chunks"),
        pytest.param(CHUNKED + b"5;" + b"a" * 1000 + b"\r\nhello\r\n0\r\n\r\n", id="extension"),
        pytest.param(CHUNKED + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", id="trailer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 30000 + b"\r\nContent-Length: 5\r\n\r\nhello", id="header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + b"a" * 65531 + b"hello", id="body"),
    ],
)
def test_response_within_the_limits_passes(probe, response):
    result, _ = probe(say(response), expect="hello")
    assert result.ok, result


def test_one_1xx_too_many_fails_also_if_the_response_comes_with_it(probe):
    result, _ = probe(say(INTERIM * (MAX_INTERIM + 1) + OK))
    assert result.reason == "1xx: more than 64 responses"


def test_any_number_of_1xx_after_the_response_counts_for_nothing(probe):
    result, _ = probe(say(b"HTTP/1.1 200\nContent-Length:0\n\n" + b"HTTP/1.1 100\n\n" * (MAX_INTERIM + 2)))
    # (the plain probe takes no lines that end so)
    assert result.reason in ("", "not HTTP")


def test_response_that_comes_byte_by_byte_passes(probe):
    def drip(connection):
        connection.request()
        for byte in OK:
            connection.say(bytes([byte]))

    result, _ = probe(drip, expect="hello")
    assert result.ok, result


def test_what_follows_a_response_is_not_parsed(probe):
    result, cpu = probe(answer_without_end(OK, OK * 100), expect="hello")
    assert result.ok, result
    assert cpu < CPU


def test_records_of_tls_are_limited_in_all(runner, authority):
    def drip(connection):
        connection.request()
        connection.say(b"HTTP/1.1 200 OK\r\nA: ")
        while connection.wait(0):
            connection.say(b"a")  # a record of its own, of 23 bytes

    check = HealthCheck(type="https", tls=Tls(ca=str(authority.pem)), timeout=20)
    with Server(drip, tls=authority.good("127.0.0.1")) as server:
        assert runner.probe(server.endpoint, check).reason == TOO_MUCH


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        # each is one that a client ignores
        pytest.param(b"\x16\x03\x03\x00\x04\0\0\0\0", HANDSHAKE_TOO_LONG, id="hello requests"),
        pytest.param(b"\x15\x03\x03\x00\x02\x01\x5a", "TLS: too many warn alerts", id="alerts"),
        pytest.param(b"\x16\x03\x03\x00\x00", "TLS: record too small", id="empty records"),
    ],
)
def test_handshake_without_end_is_limited(runner, record, reason):
    def flood(connection):
        connection.socket.recv(65536)
        while connection.wait(0):
            connection.say(record * 100)

    with Server(flood) as server:
        before = time.thread_time()
        result = runner.probe(server.endpoint, HealthCheck(type="https", tls=Tls(verify=False), timeout=10))
        assert result.reason == reason
        assert time.thread_time() - before < CPU


@pytest.mark.parametrize("into", [True, False])
def test_socket_reads_no_more_than_its_limit(into):
    reasons, buffer = [], bytearray(1 << 20)
    one, other = socket.socketpair()
    with one, other, BoundedSocket(fileno=one.detach()) as bounded:
        bounded.exceeded, bounded.reading = reasons.append, lambda: None

        def read():
            return bounded.recv_into(buffer) if into else len(bounded.recv(len(buffer)))

        count = 0
        while count < MAX_READ:
            other.sendall(b"a" * min(8192, MAX_READ - count))
            count += read()
        assert reasons == []
        other.sendall(b"a")
        with pytest.raises(ConnectionAbortedError) as raised:
            read()
        assert raised.value.errno == errno.ECONNABORTED
        assert reasons == [TOO_MUCH]
