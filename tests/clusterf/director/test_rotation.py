from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from clusterf.config.model import Frontend, FrontendKey, HealthCheck, HealthKey, Route, RouteKey
from clusterf.director.merger import RealServerWanted
from clusterf.ipvs.table import RealServer
from tests.clusterf.support.director import (
    INITIALLY_UP,
    REMOVES,
    TCP,
    UNCHECKED,
    VIP,
    VIP6,
    WEB,
    Director,
    F,
    H,
    backend,
    key,
    service,
)
from tests.clusterf.support.pipeline import NODE, Pipeline


@pytest.mark.parametrize(("check", "weight"), [(TCP, 0), (INITIALLY_UP, 10), (UNCHECKED, 10)])
def test_new_backend_is_in_or_out_of_rotation_as_its_check_says(check, weight):
    director = Director({H: check})
    director.put(service(1))
    assert director.weights == {1: weight}


def test_verdict_puts_a_backend_in_or_out_of_rotation():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    assert director.weights == {1: 10, 2: 0}
    director.judge({1: False, 2: True})
    assert director.weights == {1: 0, 2: 10}


def test_revoked_verdict_changes_nothing():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    assert director.judge({1: None, 2: None}) == []
    assert director.weights == {1: 10, 2: 0}


@pytest.mark.parametrize("default", [True, False])
def test_new_check_of_a_live_service_changes_nothing_before_a_verdict(default):
    director = Director(service(1, 2))
    assert [type(item) for item in director.put({HealthKey(None) if default else H: TCP})] == []
    assert director.weights == {1: 10, 2: 10}
    director.judge({1: False})
    assert director.weights == {1: 0, 2: 10}


def test_type_none_overrides_the_default_check():
    director = Director({HealthKey(None): TCP, H: UNCHECKED} | service(1))
    assert director.weights == {1: 10}
    director.put({H: None})
    director.put({key(2): backend(2)})
    assert director.weights == {1: 10, 2: 0}


def test_changed_port_of_a_check_changes_nothing_before_a_verdict_on_it():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    director.put({H: HealthCheck(port=9000)})
    assert director.weights == {1: 10, 2: 0}
    director.judge({1: False, 2: True})
    assert director.weights == {1: 10, 2: 0}, "verdicts for another endpoint"
    director.judge({1: False, 2: True}, port=9000)
    assert director.weights == {1: 0, 2: 10}


def test_verdict_that_comes_before_its_backend_applies_to_it():
    director = Director({H: TCP})
    director.judge({1: True, 2: False})
    director.put(service(1, 2, weight=7))
    assert director.weights == {1: 7, 2: 0}


def test_verdict_revoked_before_its_backend_comes_does_not_apply():
    director = Director({H: TCP})
    director.judge({1: True})
    director.judge({1: None})
    director.put(service(1))
    assert director.weights == {1: 0}


def test_revoked_verdict_is_forgotten_although_it_came_before_its_backend():
    director = Director({H: TCP})
    director.judge({1: True})
    director.put(service(1))
    director.judge({1: None})
    director.put({key(1): None})
    director.wait()
    director.put({key(1): backend(1)})
    assert director.weights == {1: 0}


def test_backend_with_another_address_is_new():
    director = Director({H: TCP} | service(1))
    director.judge({1: True})
    director.put({key(1): backend(9)})
    assert director.weights == {1: 10, 9: 0}, "it is kept until the new one is up"
    director.put({key(1): backend(1)})
    director.wait()
    assert director.weights == {1: 10}, "its verdict has not been revoked"


def test_backend_that_was_deleted_and_comes_back_is_new():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: True})
    director.put({key(1): None})
    director.judge({1: None})
    director.wait()
    director.put({key(1): backend(1)})
    assert director.weights == {1: 0, 2: 10}


def test_changed_weight_puts_no_backend_in_or_out_of_rotation():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    director.put({key(1): backend(1, weight=20), key(2): backend(2, weight=20)})
    assert director.weights == {1: 20, 2: 0}
    director.judge({2: True})
    assert director.weights == {1: 20, 2: 20}


def test_on_down_remove_removes_backends_that_are_down_and_a_change_of_it_applies_at_once():
    director = Director({H: REMOVES} | service(1, 2))
    director.judge({1: True, 2: False})
    assert director.weights == {1: 10}
    assert len(director.put({H: TCP})) == 1
    assert director.weights == {1: 10, 2: 0}
    director.put({H: REMOVES})
    assert director.weights == {1: 10}
    director.put({H: None})
    assert director.weights == {1: 10, 2: 0}


@pytest.mark.parametrize("elide", [False, True])
def test_virtual_server_stays_when_all_its_backends_are_removed_as_down(elide):
    director = Director({H: REMOVES} | service(1), elide=elide)
    director.judge({1: False})
    assert director.weights == {}
    director.put({key(1): None})
    director.wait()
    assert len(director.pipeline.table.virtuals) == (0 if elide else 1)


GATEWAY = {RouteKey(b"r"): Route(gateway4=IPv4Address("10.9.0.9"), prefix4=ip_network("10.0.0.0/24"), method="tunnel")}


@pytest.mark.parametrize(("check", "nobody"), [(TCP, {9: 0}), (REMOVES, {})])
def test_real_server_of_a_gateway_has_the_weight_of_the_backends_in_rotation(check, nobody):
    director = Director(GATEWAY | {H: check} | service(1, 2, 3))
    assert director.weights == nobody
    director.judge({1: True, 2: True, 3: False})
    assert director.weights == {9: 20}
    director.judge({1: False, 2: False})
    assert director.weights == nobody


def test_each_family_of_a_backend_has_its_own_verdict():
    frontend = Frontend(ipv4=VIP, ipv6=VIP6, tcp=80, udp=80)
    director = Director({H: TCP, F: frontend, key(1): backend(1, ipv6=IPv6Address("fd00::1"), udp=80)})
    director.judge({1: True})
    reals = director.pipeline.table.reals
    assert {str(virtual): [s.weight for s in settings.values()] for virtual, settings in reals.items()} == {
        "198.51.100.1:80/tcp": [10],
        "198.51.100.1:80/udp": [10],
        "[fd00:ff::1]:80/tcp": [0],
        "[fd00:ff::1]:80/udp": [0],
    }


def test_missing_verdicts_are_counted_by_backend_and_family():
    frontend = Frontend(ipv4=VIP, ipv6=VIP6, tcp=80, udp=80)
    director = Director({H: TCP} | service(1, 2, frontend=frontend, ipv6=IPv6Address("fd00::1"), udp=80))
    assert director.rotation.unknown == 4
    director.judge({1: True, 2: False})
    assert director.rotation.unknown == 2
    director.judge({1: None})
    assert director.rotation.unknown == 3
    director.put({H: UNCHECKED})
    assert director.rotation.unknown == 0


@pytest.mark.parametrize("count", [10, 1000])
@pytest.mark.parametrize("elide", [False, True])
def test_verdict_costs_one_real_server_at_any_scale(count, elide):
    director = Director({H: TCP} | service(*range(1, count + 1)), elide=elide)
    director.judge(dict.fromkeys(range(1, count + 1), True))
    for up in (False, True):
        (item,) = director.judge({7: up})
        assert item == RealServerWanted(
            item.virtual, RealServer(IPv4Address("10.0.0.7"), 8080), item.settings, lapse=item.lapse
        )
        assert item.settings.weight == (10 if up else 0)
        assert director.judge({7: up}) == []


def test_repeated_verdicts_change_nothing():
    director = Director({H: TCP} | service(*range(1, 100)))
    verdicts_of_all = {number: number % 3 > 0 for number in range(1, 100)}
    director.judge(verdicts_of_all)
    assert director.judge(verdicts_of_all) == []


def test_verdict_on_one_of_many_backends_at_a_gateway_costs_one_real_server():
    director = Director(GATEWAY | {H: TCP} | service(*range(1, 200)))
    director.judge(dict.fromkeys(range(1, 200), True))
    (item,) = director.judge({7: False})
    assert item.settings.weight == 1980


def test_verdict_changes_nothing_for_a_service_that_owns_no_virtual_server():
    director = Director({FrontendKey(b"a"): WEB, H: TCP} | service(1))
    assert director.judge({1: True}) == []


def test_merger_without_rotation_ignores_health():
    pipeline = Pipeline.of({H: TCP} | service(1), NODE)
    assert [s.weight for reals in pipeline.table.reals.values() for s in reals.values()] == [10]
