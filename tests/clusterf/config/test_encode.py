import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.config.decode import decode
from clusterf.config.encode import to_json
from clusterf.config.keys import parse_key
from tests.clusterf.support.strategies import backends, routes

HEALTH = b"services/web/health"
FRONTEND = b"services/web/frontend"


def read(path: bytes, raw: bytes):
    key = parse_key(path)
    assert key is not None
    decoded = decode("test", path, key, raw)
    assert not decoded.problems
    return decoded.value


@given(st.tuples(st.just(b"services/web/backends/1"), backends) | st.tuples(st.just(b"routes/r"), routes))
def test_decode_returns_what_was_encoded(item):
    path, value = item
    assert read(path, to_json(value)) == value


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
        (HEALTH, b'{"type":"https","tls":{"verify":false,"ca":"/ca.pem"}}'),
        (b"routes/r", b'{"Prefix":"10.0.0.0/8","Gateway":"10.1.1.1","IPVSMethod":"tunnel"}'),
        (b"routes/r", b'{"IPVSMethod":"tunnel","tunnel":{"type":"gue","port":6080,"checksum":"remcsum"}}'),
        (b"routes/r", b'{"IPVSMethod":"tunnel","tunnel":{"type":"gre"}}'),
        (b"routes/r", b"{}"),
    ],
)
def test_fields_with_their_defaults_are_left_out(path, raw):
    value = read(path, raw)
    again = to_json(value)
    assert read(path, again) == value
    assert msgspec.json.decode(again) == msgspec.json.decode(raw)
