import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clusterf.config.decode import _SHAPES, decode
from clusterf.config.encode import to_json
from clusterf.config.keys import parse_key
from clusterf.config.model import Backend, Frontend, HealthCheck, Route
from tests.clusterf.support.strategies import backends, routes, unclear_backends

HEALTH = b"services/web/health"
FRONTEND = b"services/web/frontend"


def read(path: bytes, raw: bytes):
    key = parse_key(path)
    assert key is not None
    decoded = decode("test", path, key, raw)
    assert not decoded.problems
    return decoded.value


@given(
    st.tuples(st.just(b"services/web/backends/1"), backends | unclear_backends)
    | st.tuples(st.just(b"routes/r"), routes)
)
def test_decode_returns_what_was_encoded(item):
    path, value = item
    assert read(path, to_json(value)) == value


def some_of(**fields):
    """Return objects with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


PORT = st.integers(1, 65535)
SECONDS = st.floats(0.5, 100)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=20)
HEALTH_FIELDS = some_of(
    type=st.sampled_from(["none", "tcp", "http", "https"]),
    path=st.just("/a?b"),
    port=PORT,
    method=st.sampled_from(["GET", "head", ""]),
    host=st.just("a.example"),
    status=st.sampled_from(["200", "200-399,404", "100-599"]),
    headers=st.dictionaries(st.sampled_from(["Host", "Authorization", "X-a"]), TEXT),
    body=TEXT,
    expect=TEXT,
    expect_regex=st.sampled_from(["", "a+"]),
    redirects=st.integers(0, 10),
    source=st.sampled_from(["", "10.0.0.1", "fd00::1", [], ["10.0.0.1"], ["fd00::1", "10.0.0.1"]]),
    tls=some_of(verify=st.booleans(), server_name=st.just("a.example"), ca=st.just("/ca.pem")),
    interval=SECONDS,
    timeout=SECONDS,
    rise=st.integers(1, 9),
    fall=st.integers(1, 9),
    fast_interval=SECONDS,
    jitter=st.floats(0, 1),
    initial=st.sampled_from(["up", "down"]),
    panic_threshold=st.floats(0, 100),
    on_down=st.sampled_from(["drain", "remove"]),
)
FRONTEND_FIELDS = some_of(
    ipv4=st.just("10.0.0.1"),
    ipv6=st.just("fd00::1"),
    tcp=PORT,
    udp=PORT,
    sctp=PORT,
    fwmark=st.integers(1, 9),
    scheduler=st.sampled_from(["", "wrr", "sh"]),
    scheduler_flags=st.sampled_from([[], ["flag-1"], ["sh-port", "sh-fallback"]]),
    persistence=some_of(timeout=st.integers(1, 900), netmask=st.sampled_from([1, 24, 64, 128, "255.0.0.0", ""])),
    one_packet=st.booleans(),
    drain_timeout=SECONDS,
)


@given(st.tuples(st.just(HEALTH), HEALTH_FIELDS) | st.tuples(st.just(FRONTEND), FRONTEND_FIELDS))
def test_what_is_printed_is_decoded_to_the_same_value_without_new_problems(item):
    path, fields = item
    key = parse_key(path)
    first = decode("test", path, key, msgspec.json.encode(fields))
    assume(first.value is not None)
    again = decode("test", path, key, to_json(first.value))
    assert again.value == first.value
    assert set(again.problems) <= set(first.problems)  # such as a path without a type of http


@pytest.mark.parametrize("path", [HEALTH, FRONTEND, b"services/web/backends/1", b"routes/r"])
def test_no_field_is_printed_that_is_not_read(path):
    """The names of the values' fields are those of the configuration, or made so."""
    key = parse_key(path)
    read_as = {name.lower() for name in _SHAPES[type(key)].fields}
    kind = {HEALTH: HealthCheck, FRONTEND: Frontend, b"routes/r": Route}.get(path, Backend)
    made = {HEALTH: {"source4", "source6"}, b"routes/r": {"prefix4", "prefix6", "gateway4", "gateway6", "method"}}
    assert set(kind.__struct_fields__) - made.get(path, set()) <= read_as


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        (FRONTEND, b"{}"),
        (FRONTEND, b'{"ipv4":"10.0.0.1","tcp":80,"scheduler":"sh","scheduler_flags":["sh-port"],"drain_timeout":0.0}'),
        (FRONTEND, b'{"persistence":{}}'),
        (FRONTEND, b'{"persistence":{"timeout":60,"netmask":"255.255.255.0"}}'),
        (FRONTEND, b'{"ipv6":"fd00::1","persistence":{"netmask":64}}'),
        (HEALTH, b"{}"),
        (HEALTH, b'{"type":"http","headers":{"Host":"a"},"status":"200-299,404","interval":1.5,"timeout":1.5}'),
        (HEALTH, b'{"source":["10.0.0.1","fd00::1"]}'),
        (HEALTH, b'{"source":["fd00::1"]}'),
        (HEALTH, b'{"type":"https","tls":{"verify":false,"ca":"/ca.pem"}}'),
        (b"services/web/backends/1", b'{"health":{}}'),
        (b"services/web/backends/1", b'{"weight":5,"health":{"type":"http","status":"200","from":"label"}}'),
        (b"routes/r", b'{"Prefix":"10.0.0.0/8","Gateway":"10.1.1.1","IPVSMethod":"tunnel"}'),
        (b"routes/r", b'{"IPVSMethod":"tunnel","tunnel":{"type":"gue","port":6080,"checksum":"remcsum"}}'),
        (b"routes/r", b'{"IPVSMethod":"tunnel","tunnel":{"type":"gre"}}'),
        (b"routes/r", b"{}"),
        (b"vips/a", b'{"prefix":"10.107.0.0/16","services":["team-a-*","web"]}'),
        (b"vips/a", b'{"prefix":"fd00::/8","services":[]}'),
    ],
)
def test_fields_with_their_defaults_are_left_out(path, raw):
    value = read(path, raw)
    again = to_json(value)
    assert read(path, again) == value
    assert msgspec.json.decode(again) == msgspec.json.decode(raw)


def test_tls_without_a_field_is_left_out():
    # without a type of http it would be reported as without effect
    value = read(HEALTH, b'{"type":"https","tls":{"verify":true,"ca":""}}')
    assert to_json(value) == b'{"type":"https"}'
