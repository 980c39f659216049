from ipaddress import ip_address, ip_network

import pytest

from clusterf.config.model import VipRule
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import Family, Protocol
from clusterf.resolve.prefixes import AddressRange
from clusterf.resolve.vip_rules import VipRules


def rule(prefix, *services):
    network = ip_network(prefix)
    return VipRule(**{f"prefix{network.version}": network}, services=services)


def rules(*, strict=False, **named):
    made = VipRules(strict=strict)
    for name, value in named.items():
        made.put(name.encode(), rule(*value))
    return made


def at(address):
    parsed = ip_address(address)
    return VirtualServer(Family.of(parsed), Protocol.TCP, parsed, 80)


TEAMS = {"all": ("10.0.0.0/8", "*"), "a": ("10.107.0.0/16", "team-a-*", "web"), "b": ("10.107.9.0/24", "team-b-?")}


@pytest.mark.parametrize(
    ("service", "address", "reason"),
    [
        (b"anyone", "10.1.1.1", ""),
        (b"anyone", "192.0.2.1", ""),
        (b"anyone", "fd00::1", ""),
        (b"team-a-1", "10.107.1.1", ""),
        (b"web", "10.107.1.1", ""),
        (b"Web", "10.107.1.1", "address 10.107.1.1 is forbidden: vips/a (10.107.0.0/16) has it for other services"),
        (
            b"team-a-1",
            "10.107.9.1",
            "address 10.107.9.1 is forbidden: vips/b (10.107.9.0/24) has it for other services",
        ),
        (b"team-b-1", "10.107.9.1", ""),
        (
            b"team-b-11",
            "10.107.9.1",
            "address 10.107.9.1 is forbidden: vips/b (10.107.9.0/24) has it for other services",
        ),
    ],
)
def test_longest_prefix_decides(service, address, reason):
    assert rules(**TEAMS).objection(service, at(address)) == reason


def test_any_key_with_the_longest_prefix_may_allow():
    several = rules(a=("10.0.0.0/8", "a"), b=("10.0.0.0/8", "b"), c=("10.0.0.0/8",), d=("10.0.0.0/8",))
    assert several.objection(b"a", at("10.1.1.1")) == several.objection(b"b", at("10.1.1.1")) == ""
    reason = "address 10.1.1.1 is forbidden: vips/a, vips/b, vips/c and 1 more (10.0.0.0/8) has it for other services"
    assert several.objection(b"c", at("10.1.1.1")) == reason


def test_strict_policy_forbids_what_no_key_covers():
    strict = rules(strict=True, **TEAMS)
    assert strict.objection(b"team-a-1", at("10.107.1.1")) == ""
    reason = "address 192.0.2.1 is forbidden: no vips/ key covers it (--vip-policy strict)"
    assert strict.objection(b"team-a-1", at("192.0.2.1")) == reason


@pytest.mark.parametrize(
    ("strict", "reason"),
    [(False, ""), (True, "fwmark 7 is forbidden: no vips/ key can cover it (--vip-policy strict)")],
)
def test_fwmark_is_forbidden_by_the_strict_policy_only(strict, reason):
    made = rules(strict=strict, all=("0.0.0.0/0", "*"))
    assert made.objection(b"web", VirtualServer(Family.IPV4, fwmark=7)) == reason


def test_names_of_keys_are_printable():
    made = VipRules(strict=False)
    made.put(b"\x1b\n", rule("10.0.0.0/8"))
    assert made.objection(b"a", at("10.1.1.1")).isprintable()


def test_change_of_patterns_is_about_the_addresses_under_the_key():
    made = rules(a=("10.0.0.0/8", "a"))
    under = [AddressRange(Family.IPV4, 10 << 24, (11 << 24) - 1)]
    assert made.put(b"a", rule("10.0.0.0/8", "b")) == under
    assert made.put(b"a", rule("10.0.0.0/8", "b")) == []
    assert made.put(b"z", rule("10.0.0.0/8", "b")) == under
