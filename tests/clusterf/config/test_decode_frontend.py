from ipaddress import IPv6Address

import pytest

from clusterf.config.model import (
    Frontend,
    Persistence,
)
from tests.clusterf.support.decoding import FRONTEND, VIP4, VIP6, assert_one_fault, read


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"ipv4": "10.107.107.107", "ipv6": "", "udp": 53}, Frontend(ipv4=VIP4, udp=53)),
        ({"ipv6": "fd07::107", "ipv4": None, "sctp": 9}, Frontend(ipv6=VIP6, sctp=9)),
        ({"ipv6": "fe80::1"}, Frontend(ipv6=IPv6Address("fe80::1"))),
        ({"fwmark": 0xFFFFFFFF, "one_packet": True}, Frontend(fwmark=0xFFFFFFFF, one_packet=True)),
        ({"tcp": 53, "udp": 53, "one_packet": True}, Frontend(tcp=53, udp=53, one_packet=True)),
        ({"scheduler": ""}, Frontend()),
        (
            {"scheduler": "sh", "scheduler_flags": ["sh-port", "flag-1"]},
            Frontend(scheduler="sh", scheduler_flags=("sh-port", "flag-1")),
        ),
        ({"scheduler_flags": ["mh-port"]}, Frontend(scheduler_flags=("mh-port",))),
        ({"drain_timeout": 0}, Frontend(drain_timeout=0.0)),
        ({"drain_timeout": 1.5}, Frontend(drain_timeout=1.5)),
        ({"persistence": {}}, Frontend(persistence=Persistence())),
        ({"persistence": None}, Frontend()),
        ({"persistence": {"timeout": 60, "netmask": ""}}, Frontend(persistence=Persistence(60))),
        ({"persistence": {"netmask": "255.255.255.0"}}, Frontend(persistence=Persistence(netmask4=0xFFFFFF00))),
        ({"persistence": {"netmask": "255.255.255.255"}}, Frontend(persistence=Persistence())),
        ({"persistence": {"netmask": "128.0.0.0"}}, Frontend(persistence=Persistence(netmask4=0x80000000))),
        (
            {"ipv4": str(VIP4), "persistence": {"netmask": 24}},
            Frontend(ipv4=VIP4, persistence=Persistence(netmask4=0xFFFFFF00)),
        ),
        ({"ipv4": str(VIP4), "persistence": {"netmask": 32}}, Frontend(ipv4=VIP4, persistence=Persistence())),
        (
            {"ipv6": str(VIP6), "persistence": {"netmask": 64}},
            Frontend(ipv6=VIP6, persistence=Persistence(netmask6=64)),
        ),
        (
            {"ipv4": str(VIP4), "ipv6": str(VIP6), "persistence": {"netmask": 24}},
            Frontend(ipv4=VIP4, ipv6=VIP6, persistence=Persistence(netmask6=24)),
        ),
        (
            {"fwmark": 1, "persistence": {"netmask": 8}},
            Frontend(fwmark=1, persistence=Persistence(netmask4=0xFF000000)),
        ),
    ],
)
def test_valid_frontend_is_decoded(raw, value):
    decoded = read(FRONTEND, raw)
    assert decoded.value == value
    assert decoded.problems == ()


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        ({"tcp": 65536}, "tcp", "Expected `int` <= 65535"),
        ({"tcp": 0}, "tcp", "Expected `int` >= 1"),
        ({"tcp": "80"}, "tcp", "Expected `int`, got `str`"),
        ({"tcp": True}, "tcp", "Expected `int`, got `bool`"),
        ({"udp": 1.5}, "udp", "Expected `int`, got `float`"),
        ({"fwmark": 0}, "fwmark", ">= 1"),
        ({"fwmark": 2**32}, "fwmark", "<= 4294967295"),
        ({"ipv4": "10.107.107"}, "ipv4", "not an IPv4 address: 10.107.107"),
        ({"ipv4": "10.107.107.010"}, "ipv4", "not an IPv4 address"),
        ({"ipv4": "10.107.107.107/32"}, "ipv4", "not an IPv4 address"),
        ({"ipv4": "1.2.3.4\x00"}, "ipv4", "not an IPv4 address"),
        ({"ipv4": "fd07::107"}, "ipv4", "not an IPv4 address"),
        ({"ipv4": 7}, "ipv4", "Expected `str`, got `int`"),
        ({"ipv4": "0.0.0.0"}, "ipv4", "unspecified"),
        ({"ipv4": "224.0.0.1"}, "ipv4", "multicast"),
        ({"ipv4": "255.255.255.255"}, "ipv4", "broadcast"),
        ({"ipv6": "10.107.107.107"}, "ipv6", "not an IPv6 address"),
        ({"ipv6": "fe80::1%eth0"}, "ipv6", "zone"),
        ({"ipv6": "::"}, "ipv6", "unspecified"),
        ({"ipv6": "ff02::1"}, "ipv6", "multicast"),
        ({"scheduler": "nosuch"}, "scheduler", "unknown scheduler: nosuch"),
        ({"scheduler": "WLC"}, "scheduler", "unknown scheduler"),
        ({"scheduler_flags": "sh-port"}, "scheduler_flags", "Expected `array`"),
        ({"scheduler_flags": [1]}, "scheduler_flags", "Expected `str`, got `int`"),
        ({"scheduler_flags": ["flag-4"]}, "scheduler_flags", "unknown scheduler flag: flag-4"),
        ({"scheduler": "mh", "scheduler_flags": ["sh-port"]}, "scheduler_flags", "sh-port is not a flag of mh"),
        ({"scheduler": "wlc", "scheduler_flags": ["mh-port"]}, "scheduler_flags", "mh-port is not a flag of wlc"),
        ({"one_packet": 1, "udp": 1}, "one_packet", "Expected `bool`, got `int`"),
        ({"one_packet": True, "tcp": 53}, "one_packet", "needs udp or fwmark"),
        ({"drain_timeout": -1}, "drain_timeout", ">= 0"),
        ({"drain_timeout": True}, "drain_timeout", "got `bool`"),
        ({"persistence": True}, "persistence", "Expected `object`, got `bool`"),
        ({"persistence": 300}, "persistence", "Expected `object`, got `int`"),
        ({"persistence": {"timeout": 0}}, "persistence.timeout", ">= 1"),
        ({"persistence": {"netmask": "255.0.255.0"}}, "persistence.netmask", "holes"),
        ({"persistence": {"netmask": "0.0.0.0"}}, "persistence.netmask", "not a netmask"),
        ({"persistence": {"netmask": "0.0.0.255"}}, "persistence.netmask", "holes"),
        ({"persistence": {"netmask": "24"}}, "persistence.netmask", "not an IPv4 address"),
        ({"persistence": {"netmask": 0}}, "persistence.netmask", ">= 1"),
        ({"persistence": {"netmask": True}}, "persistence.netmask", "got `bool`"),
        ({"ipv6": "fd07::107", "persistence": {"netmask": 129}}, "persistence.netmask", "<= 128"),
        ({"ipv4": "10.107.107.107", "persistence": {"netmask": 33}}, "persistence.netmask", "at most 32, not 33"),
    ],
)
def test_invalid_field_makes_a_frontend_invalid(raw, field, reason):
    assert_one_fault(read(FRONTEND, raw), field, reason)
