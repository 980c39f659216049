"""What is in force keeps its weight when keys of `vips/` change together with services and VIPs."""

from ipaddress import IPv4Network
from itertools import permutations

import pytest
from msgspec.structs import replace

from clusterf.config.model import BackendKey, FrontendKey, HealthKey, VipKey, VipRule
from tests.clusterf.support.director import TCP, VIP, WEB, Director, backend, service

RULE = VipKey(b"team")


def rule(*patterns, network="198.51.100.0/24"):
    return {RULE: VipRule(IPv4Network(network), None, patterns)}


def named(name, *numbers):
    return {FrontendKey(name): WEB} | {BackendKey(name, b"%d" % n): backend(n) for n in numbers}


def two_in_one_out(configuration):
    director = Director({HealthKey(None): TCP} | service(1, 2, 3) | configuration)
    director.judge({1: True, 2: True, 3: False})
    return director


@pytest.mark.parametrize("order", [*permutations(["old", "new", "rule"]), ["all"]])
@pytest.mark.parametrize("name", [b"web2", b"a"])
def test_renamed_service_keeps_its_weights_as_its_vip_is_given_to_the_new_name(name, order):
    director = two_in_one_out(rule("web"))
    before = director.weights
    assert sorted(before.values()) == [0, 10, 10]
    steps = {"old": dict.fromkeys(service(1, 2, 3)), "new": named(name, 1, 2, 3), "rule": rule(name.decode())}
    steps["all"] = steps["old"] | steps["new"] | steps["rule"]
    for step in order:
        director.put(steps[step])
        director.judge(dict.fromkeys([1, 2, 3]))
        assert director.weights == before, step
    assert director.wait() == []
    assert director.weights == before


def test_backends_of_a_forbidden_service_are_judged_as_those_of_one_that_is_shadowed():
    director = two_in_one_out({})
    director.put(rule("other"))
    director.wait()
    assert not director.pipeline.table.virtuals
    director.judge({1: False, 3: True})
    director.put(rule("web"))
    assert director.weights == {1: 0, 2: 10, 3: 10}


def test_rule_that_allows_what_is_in_force_changes_nothing():
    director = two_in_one_out({})
    before = director.weights
    for network, patterns in (("198.51.100.0/24", ["web"]), (f"{VIP}/32", ["w*"]), ("0.0.0.0/0", [])):
        director.put({VipKey(network.encode().replace(b"/", b"-")): rule(*patterns, network=network)[RULE]})
        assert director.wait() == []
        assert director.weights == before


def test_vip_that_moves_with_its_rule_keeps_weights():
    director = two_in_one_out(rule("web"))
    moved = replace(WEB, ipv4=VIP + 256)
    director.put({FrontendKey(b"web"): moved} | rule("web", network=f"{VIP + 256}/32"))
    director.wait()
    assert [virtual.address for virtual in director.pipeline.table.virtuals] == [VIP + 256]
    assert director.weights == {1: 10, 2: 10, 3: 0}
