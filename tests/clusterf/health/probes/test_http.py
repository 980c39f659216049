"""HTTP probes of real servers, by HttpProbe and by HttpClientProbe, with the same results."""

import re

import msgspec
import pytest

from clusterf import __version__
from clusterf.config.model import HealthCheck
from tests.clusterf.support.probe_checks import SHORT
from tests.servers import (
    Server,
    answer,
    answer_slowly,
    answer_without_end,
    closed_port,
    full_backlog,
    hang_up,
    headers_without_end,
    only_for_host,
    reset,
    say,
    stay_silent,
)

OK = b"HTTP/1.1 200 OK\r\n"
KIB_64 = 64 << 10


@pytest.fixture(params=[0, 1], ids=["http", "http client"])
def http(request: pytest.FixtureRequest):
    """Make a check for HttpProbe, or for HttpClientProbe, which follows redirects."""

    def check(**fields: object) -> HealthCheck:
        return HealthCheck(type="http", redirects=request.param, **fields)

    return check


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(answer(), id="good"),
        pytest.param(answer(200, b""), id="empty"),
        pytest.param(answer(204, b""), id="no content"),
        pytest.param(answer(version="1.0"), id="HTTP/1.0"),
        pytest.param(say(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"), id="until the connection ends"),
        pytest.param(
            say(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n"), id="chunked"
        ),
        pytest.param(
            say(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Go\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx"),
            id="after 1xx",
        ),
        pytest.param(answer(200, b"x" * KIB_64), id="64 KiB"),
        pytest.param(say(OK + b"\r\n" + b"x" * KIB_64), id="64 KiB until the connection ends"),
        pytest.param(
            answer_slowly(OK, b"Content-Le", b"ngth: 3\r\n", b"\r\na", b"b", b"c", pause=0.01), id="in pieces"
        ),
        pytest.param(answer_slowly(OK + b"Content-Length: 3\r\n\r\nabc"), id="complete, but kept open"),
        pytest.param(
            say(OK + b"Content-Length: 1\r\n\r\nx" + b"HTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\ny"),
            id="before another one",
        ),
        pytest.param(answer(200, b"not compressed at all", "Content-Encoding: gzip"), id="not compressed as announced"),
    ],
)
def test_good_response_passes(runner, http, behaviour):
    with Server(behaviour) as server:
        result = runner.probe(server.endpoint, http())
        assert (result.ok, result.reason, result.local) == (True, "", False)
        assert server.accepted == 1


def test_response_before_the_end_of_the_request_passes(runner):
    def answer_at_once(connection):
        connection.say(OK + b"Content-Length: 0\r\n\r\n")
        connection.wait()

    with Server(answer_at_once) as server:
        # more than the socket buffers of both ends hold
        assert runner.probe(server.endpoint, HealthCheck(type="http", method="POST", body="x" * (32 << 20))).ok


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        pytest.param(answer(500), "HTTP 500", id="500"),
        pytest.param(answer(503, b"x" * (KIB_64 + 1)), "HTTP 503", id="503, long"),
        pytest.param(say(b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n"), "HTTP 503", id="503, cut off"),
        pytest.param(answer(200, b"x" * (KIB_64 + 1)), "body: longer than 64 KiB", id="too long"),
        pytest.param(say(OK + b"\r\n" + b"x" * (KIB_64 + 1)), "body: longer than 64 KiB", id="too long until the end"),
        pytest.param(answer_without_end(OK + b"\r\n", b"x" * 65536), "body: longer than 64 KiB", id="endless"),
        pytest.param(
            answer_without_end(OK + b"Content-Length: 10000000000\r\n\r\n", b"x" * 65536),
            "body: longer than 64 KiB",
            id="10 GB",
        ),
        pytest.param(
            answer_without_end(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000),
            "body: longer than 64 KiB",
            id="endless chunks",
        ),
        pytest.param(say(OK + b"X: " + b"x" * 70000 + b"\r\n\r\n"), "headers: longer than 32 KiB", id="long header"),
        pytest.param(say(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), "not HTTP", id="SSH"),
        pytest.param(say(b"\x15\x03\x01\x00\x02\x02\x0a"), "not HTTP", id="TLS alert"),
        pytest.param(say(b"\x00\xff" * 1000), "not HTTP", id="garbage"),
        pytest.param(say(b"<html>hello</html>"), "not HTTP", id="HTTP/0.9"),
        pytest.param(say(OK + b"Content-Length: x\r\n\r\n"), "not HTTP", id="bad length"),
        pytest.param(say(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "not HTTP", id="two lengths"),
        pytest.param(say(OK + b"Content-Length: 5\r\n\r\nab"), "closed", id="body cut off"),
        pytest.param(say(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"), "closed", id="chunk cut off"),
        pytest.param(say(OK + b"Content-Le"), "closed", id="headers cut off"),
        pytest.param(say(b"HTTP/1.1 100 Continue\r\n\r\n"), "closed", id="only 1xx"),
        pytest.param(hang_up, "closed", id="no answer"),
        pytest.param(reset, "reset", id="reset"),
    ],
)
def test_bad_response_fails_with_a_reason(runner, http, behaviour, reason):
    with Server(behaviour) as server:
        result = runner.probe(server.endpoint, http())
        assert (result.ok, result.reason, result.local) == (False, reason, False)
        assert server.accepted == 1, "one probe sends one request"


def test_garbage_between_chunks_fails(runner, http):
    with Server(say(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n")) as server:
        assert runner.probe(server.endpoint, http()).reason in ("not HTTP", "closed")


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(stay_silent, id="silence"),
        pytest.param(answer_slowly(b"HTTP/1.1 200 OK\r\n"), id="slow headers"),
        pytest.param(answer_slowly(OK + b"Content-Length: 9\r\n\r\nhell"), id="slow body"),
        pytest.param(answer_slowly(OK, *([b"X: y\r\n"] * 1000), pause=0.02), id="a drip of headers"),
        pytest.param(answer_slowly(OK + b"\r\n", *([b"."] * 1000), pause=0.02), id="a drip of a body"),
    ],
)
def test_slow_response_times_out(runner, http, behaviour):
    with Server(behaviour) as server:
        result = runner.probe(server.endpoint, http(timeout=SHORT))
    assert (result.ok, result.reason) == (False, "timeout")
    assert SHORT * 0.9 < result.duration < SHORT + 1


def test_endless_headers_fail(runner, http):
    with Server(headers_without_end) as server:
        assert runner.probe(server.endpoint, http()).reason in ("headers: longer than 32 KiB", "not HTTP")


def test_unreachable_server_fails_with_a_reason(runner, http):
    with closed_port() as nobody:
        assert runner.probe(nobody, http()).reason == "refused"
    with full_backlog() as busy:
        assert runner.probe(busy, http(timeout=SHORT)).reason == "timeout"


@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (404, True), (302, True), (405, False), (199, False), (500, False)]
)
def test_status_has_to_be_one_of_the_check(runner, http, status, ok):
    with Server(say(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())) as server:
        result = runner.probe(
            server.endpoint, http(status=((200, 399), (404, 404)), timeout=SHORT if status < 200 else 2)
        )
    assert result.ok == ok


def test_response_to_head_has_no_body(runner, http):
    with Server(answer_slowly(OK + b"Content-Length: 10\r\n\r\n")) as server:
        assert runner.probe(server.endpoint, http(method="HEAD")).ok
        assert server.requests[0].startswith(b"HEAD / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("body", "expected", "reason"),
    [
        (b"all is well\n", {"expect": "is w"}, ""),
        (b"all is well\n", {"expect": "ill"}, "body: expect not found"),
        ("grün".encode(), {"expect": "grün"}, ""),
        ("grün".encode("latin-1"), {"expect": "grün"}, "body: expect not found"),
        (b"x" * KIB_64, {"expect": "x" * 1024}, ""),
        (b"", {"expect": "x"}, "body: expect not found"),
        (b'{"status": "ok"}', {"expect_regex": r'"status":\s*"(ok|green)"'}, ""),
        (b'{"status": "red"}', {"expect_regex": r'"status":\s*"(ok|green)"'}, "body: expect_regex does not match"),
        (b"\xff\xfe ok", {"expect_regex": r"ok$"}, ""),
        ("grün".encode(), {"expect_regex": "^gr.n$"}, ""),
        (b"one two", {"expect": "one", "expect_regex": "two"}, ""),
        (b"one two", {"expect": "one", "expect_regex": "three"}, "body: expect_regex does not match"),
        (b"one two", {"expect": "three", "expect_regex": "two"}, "body: expect not found"),
    ],
)
def test_body_has_to_match_what_the_check_expects(runner, http, body, expected, reason):
    with Server(answer(200, body)) as server:
        assert runner.probe(server.endpoint, http(**expected)).reason == reason


def test_expected_text_may_span_chunks(runner, http):
    chunks = say(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\no\r\n" + b"1\r\nk\r\n" + b"0\r\n\r\n")
    with Server(chunks) as server:
        assert runner.probe(server.endpoint, http(expect="ok")).ok


def test_no_pattern_takes_exponential_time(runner, http):
    with Server(answer(200, b"a" * KIB_64)) as server:
        result = runner.probe(server.endpoint, http(expect_regex="(a+a+)+$|(a|aa)+b", timeout=5))
    assert result.ok
    assert result.duration < 2


def lines_of(request: bytes) -> list[str]:
    head, _, _ = request.partition(b"\r\n\r\n")
    return head.decode().split("\r\n")


def test_request_has_default_headers_only(runner, http):
    with Server(answer()) as server:
        assert runner.probe(server.endpoint, http()).ok
    assert lines_of(server.requests[0]) == [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        f"User-Agent: clusterf/{__version__}",
        "Accept: */*",
        "Connection: close",
    ]


def test_request_has_all_fields_of_the_check(runner, http):
    check = http(
        method="POST",
        path="/a%20b/ü?c=d&e#f",
        host="www.example.com",
        headers=(("host", "other"), ("user-agent", "me"), ("X-Word", "größe"), ("x-word", "two"), ("Accept", "a/b")),
        body="größe\r\n",
    )
    with Server(answer()) as server:
        assert runner.probe(server.endpoint, check).ok
    [request] = server.requests
    assert sorted(lines_of(request)) == sorted(
        [
            "POST /a%20b/%C3%BC?c=d&e HTTP/1.1",
            "Host: www.example.com",
            "user-agent: me",
            "X-Word: größe",
            "X-Word: two",
            "Accept: a/b",
            "Connection: close",
            "Content-Length: 9",
        ]
    )
    assert request.endswith("\r\n\r\ngröße\r\n".encode())


def test_host_may_be_given_as_a_header(runner, http):
    with Server(only_for_host("www.example.com")) as server:
        assert runner.probe(server.endpoint, http(headers=(("HOST", "www.example.com"),))).ok
        assert runner.probe(server.endpoint, http(host="www.example.com")).ok
        assert runner.probe(server.endpoint, http()).reason == "HTTP 421"
        assert runner.probe(server.endpoint, http(host="www.example.com", headers=(("Host", "x"),))).ok


@pytest.mark.parametrize(
    ("method", "body", "length"), [("POST", "", "0"), ("PUT", "x", "1"), ("GET", "x", "1"), ("GET", "", None)]
)
def test_request_has_the_length_of_its_body(runner, http, method, body, length):
    with Server(answer()) as server:
        assert runner.probe(server.endpoint, http(method=method, body=body)).ok
    found = re.search(rb"\r\nContent-Length: (\d+)\r\n", server.requests[0])
    assert (found and found[1].decode()) == length


def test_long_request_is_sent_in_full(runner, http):
    with Server(answer()) as server:
        assert runner.probe(server.endpoint, http(method="POST", body="x" * KIB_64)).ok
        assert server.requests[0].endswith(b"\r\n\r\n" + b"x" * KIB_64)


def test_request_larger_than_the_socket_buffers_is_sent_in_full(runner):
    # more than the socket buffers of both ends hold
    check = HealthCheck(type="http", method="POST", body="x" * (16 << 20), timeout=10)
    with Server(answer()) as server:
        assert runner.probe(server.endpoint, check).ok
        assert len(server.requests[0].partition(b"\r\n\r\n")[2]) == 16 << 20
    with Server(stay_silent) as server:
        assert runner.probe(server.endpoint, msgspec.structs.replace(check, timeout=SHORT)).reason == "timeout"


def test_ipv6_server_is_probed(runner, http):
    with Server(answer(), host="::1") as server:
        assert runner.probe(server.endpoint, http()).ok
    assert f"Host: [::1]:{server.port}" in lines_of(server.requests[0])
    with closed_port("::1") as nobody:
        assert runner.probe(nobody, http()).reason == "refused"


def test_proxies_of_the_environment_are_not_used(runner, http, monkeypatch):
    with closed_port() as nobody, Server(answer()) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://{nobody}/")
        assert runner.probe(server.endpoint, http()).ok
