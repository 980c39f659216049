from ipaddress import IPv4Address, IPv6Address

import pytest

from clusterf.config.model import (
    Backend,
)
from tests.clusterf.support.decoding import BACKEND, assert_one_fault, read


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({}, Backend()),
        ({"weight": 0}, Backend(weight=0)),
        ({"weight": 65535, "ipv6": "::1"}, Backend(weight=65535, ipv6=IPv6Address("::1"))),
        ({"ipv4": "127.0.0.1"}, Backend(ipv4=IPv4Address("127.0.0.1"))),
        ({"publisher": "docker1"}, Backend(publisher="docker1")),
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
    ],
)
def test_invalid_field_makes_a_backend_invalid(raw, field, reason):
    assert_one_fault(read(BACKEND, raw), field, reason)
