from ipaddress import IPv4Address, IPv6Address

import pytest

from clusterf.config.model import Backend, BackendCheck, HealthCheck, Tls
from tests.clusterf.support.decoding import BACKEND, HEALTH, assert_one_fault, faults, read


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({}, Backend()),
        ({"weight": 0}, Backend(weight=0)),
        ({"weight": 65535, "ipv6": "::1"}, Backend(weight=65535, ipv6=IPv6Address("::1"))),
        ({"ipv4": "127.0.0.1"}, Backend(ipv4=IPv4Address("127.0.0.1"))),
        ({"publisher": "docker1"}, Backend(publisher="docker1")),
        ({"health": {}}, Backend(health=BackendCheck())),
        ({"health": {"type": "tcp", "From": "label"}}, Backend(health=BackendCheck(origin="label"))),
        ({"health": {"from": "invalid", "port": 9}}, Backend(health=BackendCheck(origin="invalid"))),
        (
            {"health": {"type": "https", "interval": 1, "tls": {"verify": False}}},
            Backend(health=BackendCheck(HealthCheck(type="https", interval=1, timeout=1, tls=Tls(verify=False)))),
        ),
        ({"upper_threshold": 5, "lower_threshold": 5}, Backend(upper_threshold=5, lower_threshold=5)),
        ({"upper_threshold": 2**31 - 1}, Backend(upper_threshold=2**31 - 1)),
    ],
)
def test_valid_backend_is_decoded(raw, value):
    assert read(BACKEND, raw).value == value


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        ({"weight": -1}, "weight", ">= 0"),
        ({"weight": 65536}, "weight", "<= 65535"),
        ({"ipv4": "0.0.0.0"}, "ipv4", "unspecified"),
        ({"ipv4": "239.1.1.1"}, "ipv4", "multicast"),
        ({"ipv4": "255.255.255.255"}, "ipv4", "broadcast"),
        ({"ipv4": "127.255.255.255"}, "ipv4", "broadcast"),
        ({"ipv6": "fe80::1"}, "ipv6", "link-local"),
        ({"ipv6": "::ffff:10.3.107.1"}, "ipv6", "IPv4-mapped"),
        ({"ipv6": "fd00::1%eth0"}, "ipv6", "zone"),
        ({"publisher": 7}, "publisher", "Expected `str`"),
        ({"publisher": "a\nb"}, "publisher", r"not the name of a node: a\x0ab"),
        ({"upper_threshold": 5, "lower_threshold": 10}, "lower_threshold", "greater than upper_threshold"),
        ({"lower_threshold": 1}, "lower_threshold", "greater than upper_threshold"),
        ({"upper_threshold": 2**31}, "upper_threshold", "<= 2147483647"),
        ({"lower_threshold": 1, "upper_threshold": "x"}, "upper_threshold", "Expected `int`"),
        ({"health": "tcp"}, "health", "Expected `object`"),
        ({"health": {"path": "x"}}, "health.path", "a path that starts with /"),
        ({"health": {"tls": {"ca": "x"}}}, "health.tls.ca", "an absolute file name"),
        ({"health": {"from": "vault"}}, "health.from", "not label or invalid: vault"),
        ({"health": {"interval": 1, "timeout": 2}}, "health.timeout", "longer than the interval"),
        ({"health": {"type": "http", "method": "HEAD", "expect": "x"}}, "health.expect", "HEAD has no body"),
    ],
)
def test_invalid_field_makes_a_backend_invalid(raw, field, reason):
    assert_one_fault(read(BACKEND, raw), field, reason)


def test_where_a_check_comes_from_is_said_of_checks_of_backends_only():
    (problem,) = read(HEALTH, {"from": "label"}).problems
    assert (problem.field, problem.reason, problem.fatal) == ("from", "unknown field", False)


def test_unknown_fields_of_a_check_are_reported_by_their_full_names():
    decoded = read(BACKEND, {"health": {"path": "/", "colour": 1, "tls": {"shade": 2}}})
    assert decoded.value == Backend(health=BackendCheck())
    reported = {problem.field for problem in decoded.problems if not problem.fatal}
    assert reported == {"health.colour", "health.tls.shade", "health.path", "health.tls"}


@pytest.mark.parametrize("health", [7, {"path": "x"}, {"from": "x"}, {"interval": 1, "timeout": 2}])
def test_backend_of_which_only_the_check_is_invalid_can_be_used_without_it(health):
    decoded = read(BACKEND, {"ipv4": "10.0.0.1", "tcp": 80, "weight": 7, "health": health})
    assert decoded.value is None
    assert len(faults(decoded)) == 1
    expected = Backend(ipv4=IPv4Address("10.0.0.1"), tcp=80, weight=7, health=BackendCheck(origin="invalid"))
    assert decoded.fallback == expected


def test_backend_that_is_otherwise_invalid_cannot_be_used():
    assert read(BACKEND, {"weight": -1, "health": 7}).fallback is None
    assert read(HEALTH, {"path": "x"}).fallback is None
    assert read(BACKEND, {"weight": 1}).fallback is None
