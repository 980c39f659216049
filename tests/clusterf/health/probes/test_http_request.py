import pytest

from clusterf import __version__
from clusterf.config.model import HealthCheck
from clusterf.health.probes.http_request import authority, body_problem, first_request, status_ok
from clusterf.health.targets import Target
from clusterf.lib.addresses import parse_endpoint

AT = parse_endpoint("10.0.0.1:8080")


def request(**fields):
    return first_request(Target(AT, HealthCheck(**{"type": "http"} | fields)))


@pytest.mark.parametrize(
    ("endpoint", "scheme", "text"),
    [
        ("10.0.0.1:80", "http", "10.0.0.1"),
        ("10.0.0.1:443", "http", "10.0.0.1:443"),
        ("10.0.0.1:443", "https", "10.0.0.1"),
        ("[fd00::1]:8080", "http", "[fd00::1]:8080"),
        ("[fd00::1]:443", "https", "[fd00::1]"),
    ],
)
def test_authority_has_the_port_unless_it_is_the_default(endpoint, scheme, text):
    assert authority(parse_endpoint(endpoint), scheme) == text


def test_plain_request_has_no_optional_parts():
    lines = [
        "GET / HTTP/1.1",
        "Host: 10.0.0.1:8080",
        f"User-Agent: clusterf/{__version__}",
        "Accept: */*",
        "Connection: close",
    ]
    assert request().encoded() == "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("fields", "host"),
    [
        ({}, "10.0.0.1:8080"),
        ({"headers": (("HOST", "www.example.com"),)}, "www.example.com"),
        ({"host": "www.example.com", "headers": (("Host", "x"),)}, "www.example.com"),
    ],
)
def test_host_is_that_of_the_check_else_its_header_else_the_endpoint(fields, host):
    assert request(**fields).host == host
    assert not [name for name, _ in request(**fields).headers if name.lower() == "host"]


def test_path_is_quoted_and_has_no_fragment():
    assert request(path="/a%20b/\u00fc?c=d&e#f").path == "/a%20b/%C3%BC?c=d&e"


def test_headers_of_the_check_replace_the_default_ones_in_one_spelling():
    headers = request(headers=(("user-agent", "me"), ("X-Word", "one"), ("x-word", "two"))).headers
    assert headers == (
        ("Accept", "*/*"),
        ("user-agent", "me"),
        ("X-Word", "one"),
        ("X-Word", "two"),
        ("Connection", "close"),
    )


@pytest.mark.parametrize(
    ("method", "body", "length"), [("POST", "", "0"), ("PUT", "x", "1"), ("GET", "\u00fc", "2"), ("GET", "", None)]
)
def test_length_is_that_of_the_body_in_bytes(method, body, length):
    assert request(method=method, body=body).length == length


@pytest.mark.parametrize(("status", "ok"), [(200, True), (399, True), (404, True), (199, False), (400, False)])
def test_status_is_ok_within_a_range_of_the_check(status, ok):
    assert status_ok(HealthCheck(status=((200, 399), (404, 404))), status) == ok


@pytest.mark.parametrize(
    ("fields", "body", "problem"),
    [
        ({}, b"", ""),
        ({"expect": "well"}, b"all is well", ""),
        ({"expect": "well"}, b"all is ill", "body: expect not found"),
        ({"expect_regex": "^all .*ll$"}, b"all is well", ""),
        ({"expect_regex": "^well"}, b"all is well", "body: expect_regex does not match"),
    ],
)
def test_body_has_to_match_what_the_check_expects(fields, body, problem):
    assert body_problem(HealthCheck(**fields), body) == problem
