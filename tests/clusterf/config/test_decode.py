from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterf.config.decode import MAX_DEPTH, MAX_SIZE
from clusterf.config.model import (
    Backend,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthCheck,
    Route,
    Tls,
)
from tests.clusterf.support.decoding import BACKEND, FRONTEND, HEALTH, KEYS, ROUTE, VIP4, assert_one_fault, faults, read


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        (FRONTEND, b'{"ipv4": "10.107.107.107", "tcp": 1337}', Frontend(ipv4=VIP4, tcp=1337)),
        (BACKEND, b'{"ipv4": "10.3.107.1", "tcp": 1337}', Backend(ipv4=IPv4Address("10.3.107.1"), tcp=1337)),
        (ROUTE, b'{"Prefix":"10.3.107.0/24","IPVSMethod":"masq"}', Route(IPv4Network("10.3.107.0/24"), method="masq")),
    ],
)
def test_configurations_of_2016_load_unchanged(key, raw, value):
    decoded = read(key, raw)
    assert decoded.value == value
    assert decoded.problems == ()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("raw", [b"", b" \r\n\t", b"{}"])
def test_empty_value_is_an_object_without_fields_but_for_frontends_and_backends(key, raw):
    decoded = read(key, raw)
    if raw != b"{}" and isinstance(key, FrontendKey | BackendKey):
        assert decoded.value is None
        assert [(problem.reason, problem.fatal) for problem in decoded.problems] == [("empty", True)]
    else:
        assert decoded.value in (Frontend(), Backend(), HealthCheck(), Route())
        assert decoded.problems == ()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b"3", "Expected `object`, got `int`"),
        (b"{", "truncated"),
        (b"{'tcp': 1}", "byte 1"),
        (b'{"tcp": 1} x', "trailing characters"),
        (b'{"a": "b", "c": "d\xff"}', "position 18"),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b'{"a": NaN}', "byte 6"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": "\\ud800\\u0041"}', "surrogate"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "nested too deeply"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b" " * (MAX_SIZE + 1), "1572865 bytes are too many"),
    ],
)
def test_value_that_is_not_a_json_object_is_invalid(raw, reason):
    assert_one_fault(read(FRONTEND, raw), "", reason)


def test_value_of_the_largest_size_is_decoded():
    assert read(FRONTEND, b" " * (MAX_SIZE - 10) + b'{"tcp": 1}').value == Frontend(tcp=1)


def test_every_invalid_field_is_reported():
    decoded = read(FRONTEND, {"tcp": 0, "ipv4": "x", "udp": 1, "persistence": {"timeout": 0, "netmask": "x"}})
    assert decoded.value is None
    assert [field for field, _ in faults(decoded)] == ["tcp", "ipv4", "persistence.timeout", "persistence.netmask"]


def test_field_is_not_checked_against_an_invalid_one():
    decoded = read(FRONTEND, {"ipv6": "x", "udp": 0, "one_packet": True, "persistence": {"netmask": 64}})
    assert [field for field, _ in faults(decoded)] == ["ipv6", "udp"]


def test_unknown_fields_are_reported_and_ignored():
    decoded = read(HEALTH, {"Ttype": "http", "Type": "https", "port": 80, "tls": {"CA": "/ca.pem", "Cert": 1}})
    assert decoded.value == HealthCheck(type="https", port=80, tls=Tls(ca="/ca.pem"))
    assert [(problem.field, problem.fatal) for problem in decoded.problems] == [("Ttype", False), ("tls.Cert", False)]


def test_last_of_field_names_that_differ_by_case_wins_unless_null():
    assert read(FRONTEND, b'{"tcp": 1, "TCP": 2, "Tcp": 3}').value == Frontend(tcp=3)
    assert read(FRONTEND, b'{"TCP": 0, "tcp": 2, "Tcp": null}').value == Frontend(tcp=2)


VALID = st.sampled_from(
    [
        (FRONTEND, {"ipv4": "10.107.107.107", "tcp": 80, "persistence": {"timeout": 9, "netmask": 24}}),
        (BACKEND, {"ipv6": "fd00::1", "udp": 53, "weight": 3, "upper_threshold": 2}),
        (HEALTH, {"type": "https", "tls": {"verify": False, "ca": "/ca"}, "interval": 9, "headers": {"Ab": "c"}}),
        (ROUTE, {"prefix": "10.0.0.0/8", "gateway": "10.1.1.1", "ipvsmethod": "tunnel"}),
    ]
)


@given(VALID, st.randoms())
def test_case_of_field_names_is_ignored(good, random):
    def shuffled(fields):
        return {
            "".join(random.choice([char.lower(), char.upper()]) for char in name): (
                shuffled(value) if name in ("persistence", "tls") else value
            )
            for name, value in fields.items()
        }

    key, fields = good
    assert read(key, shuffled(fields)) == read(key, fields)
    assert read(key, fields).value is not None


FIELDS_READ = [*Frontend.__struct_fields__, *Backend.__struct_fields__, *HealthCheck.__struct_fields__]
FIELD_NAMES = st.sampled_from(
    [*FIELDS_READ, "netmask", "verify", "ca", "server_name", "source", "prefix", "ipvsmethod"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["10.0.0.1", "::", "sh"]),
    lambda inner: st.lists(inner) | st.dictionaries(FIELD_NAMES | st.text(), inner),
)


@given(st.sampled_from(KEYS), st.binary() | JSON | st.dictionaries(FIELD_NAMES, JSON))
@example(HEALTH, b'{"interval": ' + b"9" * 400 + b"}")
@example(HEALTH, b'{"interval": ' + b"9" * 5000 + b"}")
@example(FRONTEND, b'{"persistence":' * 50_000)
def test_any_input_becomes_a_value_or_a_problem(key, raw):
    decoded = read(key, raw)
    assert (decoded.value is None) == bool(faults(decoded))
    assert hash(decoded) == hash(read(key, raw))
    for problem in decoded.problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 600


@pytest.mark.parametrize("rest", ["", ', "y": [' + "[], " * 500 + "[]]", ', "z": "' + "[" * 500 + r"\"[" + '"'])
def test_value_that_is_taken_at_all_is_taken_at_any_depth_of_the_stack(rest):
    nested = MAX_DEPTH - 1
    raw = ('{"tcp": 1, "x": ' + "[" * nested + "]" * nested + rest + "}").encode()

    def read_below(frames):
        return read_below(frames - 1) if frames else read(FRONTEND, raw).value

    assert read_below(0) == read_below(700) == Frontend(tcp=1)
