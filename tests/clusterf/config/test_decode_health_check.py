from ipaddress import IPv4Address, IPv6Address

import pytest

from clusterf.config.model import (
    HealthCheck,
    Tls,
)
from tests.clusterf.support.decoding import HEALTH, assert_one_fault, read


def test_example_of_the_reference_has_the_defaults():
    raw = b"""
    {"type": "http", "path": "/healthz", "port": 0, "method": "GET", "host": "", "status": "200-399",
     "headers": {}, "body": "", "tls": {"verify": true, "server_name": "", "ca": ""},
     "interval": 5, "timeout": 2, "rise": 2, "fall": 3, "fast_interval": 1, "jitter": 0.1,
     "initial": "down", "panic_threshold": 0, "on_down": "drain"}
    """
    decoded = read(HEALTH, raw)
    assert decoded.value == HealthCheck(type="http", path="/healthz")
    assert decoded.problems == ()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"type": "none"}, HealthCheck(type="none")),
        ({"method": ""}, HealthCheck()),
        ({"method": "HEAD", "path": "/a?b=c#d"}, HealthCheck(method="HEAD", path="/a?b=c#d")),
        ({"method": "options"}, HealthCheck(method="OPTIONS")),
        ({"status": "200"}, HealthCheck(status=((200, 200),))),
        ({"status": "200-399, 404"}, HealthCheck(status=((200, 399), (404, 404)))),
        ({"headers": {"X-Token": "a b"}}, HealthCheck(headers=(("X-Token", "a b"),))),
        ({"headers": {"A": "1", "a": "2"}}, HealthCheck(headers=(("A", "1"), ("a", "2")))),
        ({"headers": {"Host": "a", "X": "\u00fc\t"}}, HealthCheck(headers=(("Host", "a"), ("X", "\u00fc\t")))),
        ({"body": "\u00fc" * 32768}, HealthCheck(body="\u00fc" * 32768)),
        ({"expect": "", "expect_regex": ""}, HealthCheck()),
        ({"expect": "a" * 1024, "redirects": 10}, HealthCheck(expect="a" * 1024, redirects=10)),
        ({"expect_regex": r"(?i)\bok\b|ü+"}, HealthCheck(expect_regex=r"(?i)\bok\b|ü+")),
        ({"source": ""}, HealthCheck()),
        ({"source": []}, HealthCheck()),
        ({"source": "10.0.0.9"}, HealthCheck(source4=IPv4Address("10.0.0.9"))),
        ({"source": ["fd00::9"]}, HealthCheck(source6=IPv6Address("fd00::9"))),
        (
            {"source": ["fd00::9", "10.0.0.9"]},
            HealthCheck(source4=IPv4Address("10.0.0.9"), source6=IPv6Address("fd00::9")),
        ),
        (
            {"tls": {"server_name": "a_b.xn--bcher-kva.example"}},
            HealthCheck(tls=Tls(server_name="a_b.xn--bcher-kva.example")),
        ),
        ({"tls": {"server_name": "fd00::9"}}, HealthCheck(tls=Tls(server_name="fd00::9"))),
        (
            {"tls": {"verify": False, "server_name": "a.example"}},
            HealthCheck(tls=Tls(verify=False, server_name="a.example")),
        ),
        ({"interval": 0.5, "timeout": 0.5}, HealthCheck(interval=0.5, timeout=0.5)),
        ({"interval": 1}, HealthCheck(interval=1.0, timeout=1.0)),
        ({"interval": 60}, HealthCheck(interval=60.0, timeout=2.0)),
        ({"jitter": 0, "panic_threshold": 33.3}, HealthCheck(jitter=0.0, panic_threshold=33.3)),
        ({"initial": "up", "on_down": "remove"}, HealthCheck(initial="up", on_down="remove")),
        ({"body": "line\r\n"}, HealthCheck(body="line\r\n")),
    ],
)
def test_valid_health_check_is_decoded(raw, value):
    decoded = read(HEALTH, raw)
    assert decoded.value == value
    assert not [problem for problem in decoded.problems if problem.fatal]


@pytest.mark.parametrize(
    ("raw", "value", "field", "reason"),
    [
        ({"interval": 0.05}, {"interval": 0.1, "timeout": 0.1}, "interval", "0.05 s is too short: 0.1 s is used"),
        ({"interval": 0.09, "timeout": 0.095}, {"interval": 0.1, "timeout": 0.095}, "interval", "0.09 s is too short"),
        ({"fast_interval": 0.001}, {"fast_interval": 0.1}, "fast_interval", "0.001 s is too short: 0.1 s is used"),
        (
            {"interval": 900, "timeout": 301},
            {"interval": 900.0, "timeout": 300.0},
            "timeout",
            "301 s is too long: 300 s",
        ),
    ],
)
def test_times_are_kept_within_limits_with_a_note(raw, value, field, reason):
    decoded = read(HEALTH, raw)
    assert decoded.value == HealthCheck(**value)
    [problem] = decoded.problems
    assert (problem.field, problem.fatal, problem.note) == (field, False, True)
    assert problem.reason.startswith(reason)


def test_limits_themselves_are_fine():
    decoded = read(HEALTH, {"interval": 300, "fast_interval": 0.1, "timeout": 300})
    assert decoded.value == HealthCheck(interval=300.0, fast_interval=0.1, timeout=300.0)
    assert decoded.problems == ()


def test_body_with_a_method_that_has_none_is_noted_and_the_check_is_not_changed():
    decoded = read(HEALTH, {"type": "http", "body": "a"})
    assert decoded.value == HealthCheck(type="http", body="a")
    assert [(problem.reason, problem.note) for problem in decoded.problems] == [
        ("a request by GET has no body: the backends are not probed", True)
    ]
    assert read(HEALTH, {"type": "http", "method": "POST", "body": "a"}).problems == ()


def test_http_fields_of_a_check_without_a_type_are_reported():
    decoded = read(HEALTH, {"path": "/healthz", "status": "200", "interval": 3})
    assert decoded.value == HealthCheck(path="/healthz", status=((200, 200),), interval=3.0)
    reason = "has no effect without a type of http or https"
    assert [(problem.field, problem.reason, problem.fatal) for problem in decoded.problems] == [
        ("path", reason, False),
        ("status", reason, False),
    ]
    for check in ({"type": "http", "path": "/healthz"}, {"type": "tcp", "path": "/"}, {"interval": 3}):
        assert read(HEALTH, check).problems == ()


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        ({"type": "udp"}, "type", "Invalid enum value 'udp'"),
        ({"path": ""}, "path", "starts with /"),
        ({"path": "healthz"}, "path", "starts with /"),
        ({"path": "/a b"}, "path", "spaces"),
        ({"path": "/a\r\nHost: b"}, "path", "spaces"),
        ({"path": "/a\n"}, "path", "spaces"),
        ({"method": "GE T"}, "method", "not an HTTP method"),
        ({"method": "GET\n"}, "method", "not an HTTP method"),
        ({"host": "a\x00b"}, "host", "control characters"),
        ({"host": "a b"}, "host", "spaces"),
        ({"port": 65536}, "port", "<= 65535"),
        ({"port": False}, "port", "got `bool`"),
        ({"status": ""}, "status", "not a list of HTTP status codes"),
        ({"status": "399-200"}, "status", "399-200"),
        ({"status": "99"}, "status", "99"),
        ({"status": "200-600"}, "status", "200-600"),
        ({"status": "200,,404"}, "status", "not a list"),
        ({"status": "\uff12\uff10\uff10"}, "status", "not a list"),
        ({"status": 200}, "status", "Expected `str`"),
        ({"headers": ["a"]}, "headers", "Expected `object`"),
        ({"headers": {"a": 1}}, "headers", "Expected `str`, got `int`"),
        ({"headers": {"a:": "b"}}, "headers", "not a header name: a:"),
        ({"headers": {"": "b"}}, "headers", "not a header name"),
        ({"headers": {"a": "b\r\nc: d"}}, "headers", "control character in header a"),
        ({"headers": {"a": "b\x00"}}, "headers", "control character"),
        ({"headers": {"a": "b\x1b"}}, "headers", "control character"),
        ({"headers": {"Content-length": "1"}}, "headers", "header Content-length cannot be set"),
        ({"headers": {"CONNECTION": "keep-alive"}}, "headers", "CONNECTION cannot be set"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers", "Transfer-Encoding cannot be set"),
        ({"headers": {"Expect": "100-continue"}}, "headers", "Expect cannot be set"),
        ({"headers": {"a": "b" * 16384}}, "headers", "16385 bytes are too many"),
        ({"path": "/" + "a" * 4096}, "path", "4097 characters are too many"),
        ({"method": "connect"}, "method", "CONNECT is not supported"),
        ({"method": "G" * 33}, "method", "33 characters are too many"),
        ({"host": "b\u00fccher.example"}, "host", "not a name of ASCII"),
        ({"host": "a" * 256}, "host", "256 characters are too many"),
        ({"body": "\u00fc" * 32769}, "body", "65538 bytes are too many"),
        ({"status": "200," * 251}, "status", "1004 characters are too many"),
        ({"expect": "a" * 1025}, "expect", "1025 characters are too many"),
        ({"expect": 1}, "expect", "Expected `str`"),
        ({"expect": "a", "method": "head"}, "expect", "HEAD"),
        ({"expect_regex": "a(b"}, "expect_regex", "missing ): a(b"),
        ({"expect_regex": r"(a)\1"}, "expect_regex", "invalid escape sequence"),
        ({"expect_regex": "a{1000}"}, "expect_regex", "too complex"),
        ({"expect_regex": "a" * 1025}, "expect_regex", "1025 characters are too many"),
        ({"expect_regex": "a", "method": "HEAD"}, "expect_regex", "HEAD"),
        ({"redirects": -1}, "redirects", ">= 0"),
        ({"redirects": 11}, "redirects", "<= 10"),
        ({"source": 1}, "source", "got `int`"),
        ({"source": [1]}, "source", "got `int`"),
        ({"source": "::ffff:10.0.0.1"}, "source", "IPv4-mapped"),
        ({"source": "0.0.0.0"}, "source", "unspecified"),
        ({"source": "eth0"}, "source", "not an IPv4 address: eth0"),
        ({"source": ["10.0.0.1", "fd00::1", "10.0.0.2"]}, "source", "more than one address of a family: 10.0.0.2"),
        ({"tls": True}, "tls", "Expected `object`, got `bool`"),
        ({"tls": {"verify": "no"}}, "tls.verify", "Expected `bool`"),
        ({"tls": {"server_name": "a b"}}, "tls.server_name", "not a host name or address: a b"),
        ({"tls": {"server_name": "a..b"}}, "tls.server_name", "not a host name"),
        ({"tls": {"server_name": "a\n"}}, "tls.server_name", "not a host name"),
        ({"tls": {"server_name": "a" * 64}}, "tls.server_name", "not a host name"),
        ({"tls": {"server_name": "fe80::1%eth0"}}, "tls.server_name", "not a host name"),
        ({"tls": {"server_name": "a." * 127}}, "tls.server_name", "254 characters are too many"),
        ({"tls": {"ca": "/etc/\x00"}}, "tls.ca", "not an absolute file name"),
        ({"tls": {"ca": "ca.pem"}}, "tls.ca", "not an absolute file name"),
        ({"tls": {"ca": "/" * 4097}}, "tls.ca", "4097 characters are too many"),
        ({"interval": 0}, "interval", "> 0"),
        ({"interval": True}, "interval", "got `bool`"),
        ({"interval": "5"}, "interval", "got `str`"),
        ({"timeout": 5.5}, "timeout", "5.5 s is longer than the interval, 5 s"),
        ({"interval": 1, "timeout": 2}, "timeout", "2 s is longer than the interval, 1 s"),
        ({"rise": 0}, "rise", ">= 1"),
        ({"jitter": 1.1}, "jitter", "<= 1"),
        ({"panic_threshold": 101}, "panic_threshold", "<= 100"),
        ({"on_down": "kill"}, "on_down", "Invalid enum value"),
    ],
)
def test_invalid_field_makes_a_health_check_invalid(raw, field, reason):
    assert_one_fault(read(HEALTH, raw), field, reason)


def test_source_is_one_field_for_both_families():
    decoded = read(HEALTH, {"source4": "10.0.0.1", "source6": "fd00::1"})
    assert decoded.value == HealthCheck()
    assert [problem.reason for problem in decoded.problems] == ["unknown field"] * 2
