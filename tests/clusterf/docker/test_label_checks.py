from ipaddress import IPv4Address

import pytest

from clusterf.config.model import BackendCheck, HealthCheck, Tls
from clusterf.docker.label_checks import MAX_CHECK, label_check
from clusterf.docker.labels import Report

INVALID, BY_TCP = BackendCheck(origin="invalid"), BackendCheck(HealthCheck(), "label")


def read(text, ports=(80, 81), **options):
    """Return the check of a label, and the problems as lines."""
    report = Report("web")
    own = label_check(text, ports, report, **options)
    return own, [str(problem).removeprefix("docker: web: ") for problem in report.problems]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("tcp", HealthCheck()),
        ("http", HealthCheck(type="http")),
        ("http:/healthz", HealthCheck(type="http", path="/healthz")),
        ("https:/a:b?c=d", HealthCheck(type="https", path="/a:b?c=d")),
        ("{}", HealthCheck()),
        ('{"type": "http", "method": "HEAD", "port": 81}', HealthCheck(type="http", method="HEAD", port=81)),
        ('{"type": "http", "status": "200-299", "rise": 3}', HealthCheck(type="http", status=((200, 299),), rise=3)),
        ('{"type": "http", "expect": "ok", "host": "a"}', HealthCheck(type="http", expect="ok", host="a")),
        ('{"type": "https", "tls": {"verify": false}}', HealthCheck(type="https", tls=Tls(verify=False))),
        ('{"interval": 9, "timeout": 8, "fall": 7}', HealthCheck(interval=9, timeout=8, fall=7)),
    ],
)
def test_check_is_given_in_short_or_as_json(text, check, full):
    assert read(text, full=full) == (BackendCheck(check, "label"), [])


@pytest.mark.parametrize(
    ("text", "check", "line"),
    [
        ("none", HealthCheck(type="none"), "type: none is not allowed"),
        ('{"port": 22}', HealthCheck(port=22), "port: port 22/tcp is not exposed"),
        ('{"method": "PATCH"}', HealthCheck(method="PATCH"), "method: PATCH is not allowed"),
        ('{"headers": {"A": "b"}}', HealthCheck(headers=(("A", "b"),)), "headers: not allowed"),
        ('{"redirects": 1}', HealthCheck(redirects=1), "redirects: not allowed"),
        ('{"source": "10.0.0.9"}', HealthCheck(source4=IPv4Address("10.0.0.9")), "source: not allowed"),
        ('{"initial": "up"}', HealthCheck(initial="up"), "initial: not allowed"),
        ('{"tls": {"ca": "/etc/x.pem"}}', HealthCheck(tls=Tls(ca="/etc/x.pem")), "tls.ca: not allowed"),
    ],
)
def test_what_makes_more_of_a_probe_is_refused_and_the_container_checked_by_tcp(text, check, line):
    if text.startswith("{"):
        text = text[:-1] + ', "type": "http"}'
        check = HealthCheck(**{name: getattr(check, name) for name in check.__struct_fields__} | {"type": "http"})
    assert read(text, full=True) == (BackendCheck(check, "label"), [])
    assert read(text) == (BY_TCP, [f"health.{line} (--docker-label-checks): checking by TCP instead"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ping", "health: expected none, tcp, http:PATH, https:PATH or a JSON object: ping"),
        ("tcp:80", "health: expected none, tcp, http:PATH, https:PATH or a JSON object: tcp:80"),
        ("httpx:/", "health: expected none, tcp, http:PATH, https:PATH or a JSON object: httpx:/"),
        (
            "http://localhost:8080/x",
            "health: expected http:PATH, a path at the container itself, not a URL: http://localhost:8080/x",
        ),
        ("[1]", "health: expected none, tcp, http:PATH, https:PATH or a JSON object: [1]"),
        ("http:", "health.path: not a path that starts with / and holds no spaces: "),
        ("http:/a b", "health.path: not a path that starts with / and holds no spaces: /a b"),
        (
            "http:/\r\nX: y",
            r"health.path: not a path that starts with / and holds no spaces: /\x0d\x0aX: y",
        ),
        ('{"interval": 0}', "health.interval: Expected `float` > 0.0"),
        ('{"type": "icmp"}', "health.type: Invalid enum value 'icmp'"),
        ('{"type": "https", "tls": {"ca": 1}}', "health.tls.ca: Expected `str`, got `int`"),
        ("{", "health: Input data was truncated"),
        ('{"a":' * 2700, "health: nested too deeply"),
        ('{"a":[' + "[" * 8000 + "]" * 8000 + "]}", "health: nested too deeply"),
        ("{" + " " * MAX_CHECK, None),
        (
            "http:/" + "x" * MAX_CHECK,
            f"health: {MAX_CHECK + 6} characters, limit 16384",
        ),
        ('{"host": "\ud800"}', None),
        ("http:/\ud800", None),
    ],
)
def test_label_that_is_no_check_is_reported(text, line):
    own, problems = read(text)
    assert own == INVALID
    assert len(problems) == 1
    assert problems[0] == line if line else problems[0].startswith("health: ")


def test_request_with_a_body_is_refused():
    text = '{"type": "http", "method": "POST", "body": "x"}'
    assert read(text, full=True) == (BackendCheck(HealthCheck(type="http", method="POST", body="x"), "label"), [])
    why = "(--docker-label-checks): checking by TCP instead"
    own, problems = read(text)
    assert own == BY_TCP
    assert problems == [f"health.method: POST is not allowed {why}", f"health.body: not allowed {why}"]


def test_unknown_field_is_a_warning():
    assert read('{"type": "tcp", "colour": "red"}') == (BY_TCP, ["health.colour: unknown field"])


def test_fields_about_the_whole_service_have_no_effect():
    own, problems = read('{"panic_threshold": 100, "on_down": "remove"}', full=True)
    assert own == BY_TCP
    why = "has no effect in a label: the check of the service says that"
    assert problems == [f"health.panic_threshold: {why}", f"health.on_down: {why}"]
