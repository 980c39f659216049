"""Redirects, as a table and with real servers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.config.model import HealthCheck, Tls
from clusterf.health.probes.http_request import HttpRequest
from clusterf.health.probes.redirects import BadRedirect, next_request
from tests.servers import Authority, Server, answer, redirect

LOOPBACK = "127.0.0.1"
HEADERS = (("User-Agent", "me"), ("Authorization", "secret"), ("Cookie", "a=b"), ("Content-Type", "a/b"))
HERE = HttpRequest("http", 8080, "www.example.com", "POST", "/a/b?c", HEADERS, b"body")


def http(redirects: int = 3, **fields: object) -> HealthCheck:
    return HealthCheck(type="http", redirects=redirects, timeout=5, **fields)


@pytest.mark.parametrize(
    ("location", "scheme", "port", "host", "path"),
    [
        ("/", "http", 8080, "www.example.com", "/"),
        ("d", "http", 8080, "www.example.com", "/a/d"),
        ("?d", "http", 8080, "www.example.com", "/a/b?d"),
        ("", "http", 8080, "www.example.com", "/a/b?c"),
        ("/ü x#y", "http", 8080, "www.example.com", "/%C3%BC%20x"),
        ("http://www.example.com/d", "http", 8080, "www.example.com", "/d"),
        ("http://WWW.Example.COM/d", "http", 8080, "www.example.com", "/d"),
        ("//www.example.com/d", "http", 8080, "www.example.com", "/d"),
        ("http://www.example.com:81/d", "http", 81, "www.example.com:81", "/d"),
        ("https://www.example.com/d", "https", 443, "www.example.com", "/d"),
        ("HTTPS://other:8443", "https", 8443, "other:8443", "/"),
        ("http://169.254.169.254/latest", "http", 80, "169.254.169.254", "/latest"),
        ("http://[fd00::1]:81/", "http", 81, "[fd00::1]:81", "/"),
        ("http://user:pw@www.example.com/d", "http", 8080, "www.example.com", "/d"),
    ],
)
def test_next_request_goes_to_the_location(location, scheme, port, host, path):
    there = next_request(HERE, 302, location)
    assert (there.scheme, there.port, there.host, there.path) == (scheme, port, host, path)


@pytest.mark.parametrize(
    "location",
    [
        "ftp://www.example.com/",
        "file:///etc/passwd",
        "mailto:me",
        "javascript:1",
        "http://[::1",
        "http://h:99999/",
        "http://a b/",
        f"http://{'x' * 300}/",
        f"//{'x' * 300}/",
        *(f"http:/{control}/{'x' * 300}" for control in "\t\r\n"),
        "/a\tb",
        f"/{'x' * 8192}",
        "http://" + "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 100,  # costs a tenth of a millisecond each
    ],
)
def test_location_that_is_not_http_is_rejected(location):
    with pytest.raises(BadRedirect, match=r"^redirects: "):
        next_request(HERE, 302, location)


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        *((301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET")),
        *(
            (307, "POST", "POST"),
            (308, "POST", "POST"),
            (302, "PUT", "PUT"),
            (302, "GET", "GET"),
            (303, "HEAD", "HEAD"),
        ),
    ],
)
def test_method_and_body_follow_the_status_as_in_browsers(status, method, then):
    there = next_request(HERE._replace(method=method), status, "/")
    assert there.method == then
    becomes_get = then != method
    assert there.body == (b"" if becomes_get else b"body")
    assert (("Content-Type", "a/b") in there.headers) != becomes_get


def test_credentials_are_sent_to_the_same_name_and_port_only():
    assert next_request(HERE, 307, "/x").headers == HEADERS
    assert next_request(HERE, 307, "http://www.example.com/x").headers == HEADERS
    for elsewhere in ("http://other/", "http://www.example.com:81/", "https://www.example.com/"):
        assert next_request(HERE, 307, elsewhere).headers == (("User-Agent", "me"), ("Content-Type", "a/b"))


@given(st.text() | st.text().map(lambda text: f"http://{text}") | st.text().map(lambda text: f"http://h/{text}"))
def test_next_request_is_printable_for_any_location(location):
    try:
        there = next_request(HERE, 302, location)
    except BadRedirect:
        return
    assert there.scheme in ("http", "https")
    assert 0 < there.port < 65536
    for part in (there.host, there.path):
        assert part.isascii()
        assert part.isprintable()
        assert part
        assert " " not in part
    assert there.path.startswith("/")


def test_redirects_are_followed_up_to_the_number_in_the_check(runner):
    for redirects, reason in ((3, ""), (2, "redirects: more than 2")):
        with Server(redirect("/a", "/b", "/c")) as server:
            assert runner.probe(server.endpoint, http(redirects)).reason == reason
            assert [request.split()[1] for request in server.requests] == [b"/", b"/a", b"/b", b"/c"][: redirects + 1]


def test_redirect_is_not_followed_by_default(runner):
    with Server(redirect("/a")) as server:
        assert runner.probe(server.endpoint, http(0)).ok
        assert runner.probe(server.endpoint, http(0)).ok
        assert server.accepted == 2


def test_status_of_the_last_response_counts(runner):
    with Server(redirect("/a")) as server:
        assert runner.probe(server.endpoint, http(status=((200, 200),))).ok
    with Server(answer(302, b"no location")) as server:
        assert runner.probe(server.endpoint, http(status=((200, 200),))).reason == "HTTP 302"
    with Server(answer(304, b"", "Location: /a")) as server:
        assert runner.probe(server.endpoint, http(status=((200, 200),))).reason == "HTTP 304"


def test_redirect_to_another_address_is_followed_at_the_target(runner):
    with Server(answer(), host="127.0.0.2") as other, Server(answer(204, b"")) as next_door:
        for place in (f"http://127.0.0.2:{other.port}/", f"http://metadata.example:{next_door.port}/"):
            with Server(redirect(place)) as server:
                result = runner.probe(server.endpoint, http(headers=(("Cookie", "a=b"),)))
                assert result.reason == ("refused" if "127.0.0.2" in place else "")
        assert other.accepted == 0
        [request] = next_door.requests
        assert b"\r\nHost: metadata.example:" in request
        assert b"Cookie" not in request


def test_certificate_after_a_redirect_has_to_be_for_the_new_name(runner, tmp_path):
    authority = Authority(tmp_path)
    for name, own_name, reason in (
        ("www.example.com", "", ""),
        ("other.example.com", "", "TLS: wrong name"),
        ("www.example.com", "own.example.com", ""),
        ("own.example.com", "own.example.com", "TLS: wrong name"),
    ):
        with Server(answer(), tls=authority.good(name)) as secure, Server(redirect()) as server:
            server.behaviour = redirect(f"https://www.example.com:{secure.port}/")
            check = http(host="front.example.com", tls=Tls(ca=str(authority.pem), server_name=own_name))
            assert runner.probe(server.endpoint, check).reason == reason


def test_redirect_to_another_scheme_fails(runner):
    with Server(redirect("gopher://x/")) as server:
        assert runner.probe(server.endpoint, http()).reason == "redirects: not an HTTP URL"


def test_cookies_are_not_kept(runner):
    def with_cookie(connection):
        connection.request()
        connection.say(b"HTTP/1.1 302 X\r\nLocation: /a\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    with Server(with_cookie) as server:
        runner.probe(server.endpoint, http(1))
        runner.probe(server.endpoint, http(1))
        assert len(server.requests) == 4
        assert not any(b"cookie" in request.lower() for request in server.requests)
