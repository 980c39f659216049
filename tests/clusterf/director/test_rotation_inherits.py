"""What is in force keeps its weight without a verdict, whatever happens to names, services, routes and checks."""

from ipaddress import IPv4Address, ip_network

import pytest

from clusterf.config.model import BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, Route, RouteKey
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, table_of
from tests.clusterf.support.director import (
    INITIALLY_UP,
    REMOVES,
    TCP,
    UNCHECKED,
    VIP,
    WEB,
    Director,
    F,
    H,
    at,
    backend,
    key,
    service,
    virtuals,
)

WIPED = dict.fromkeys([F, H, key(1), key(2)])
CHECKED = {HealthKey(None): TCP}


def named(name, *numbers, **fields):
    """Return the service under another name."""
    return {FrontendKey(name): WEB} | {BackendKey(name, b"%d" % n): backend(n, **fields) for n in numbers}


def two_in_one_out(check=TCP):
    """Return a director whose backends 1 and 2 are in rotation, and 3 is not."""
    director = Director({HealthKey(None): check} | service(1, 2, 3))
    director.judge({1: True, 2: True, 3: False})
    return director


@pytest.mark.parametrize("check", [TCP, INITIALLY_UP, REMOVES])
@pytest.mark.parametrize("name", [b"web2", b"a"])
@pytest.mark.parametrize("order", [["old", "new"], ["new", "old"], ["new", "wait", "old"], ["both"]])
def test_renamed_service_keeps_its_weights(name, order, check):
    director = two_in_one_out(check)
    before = director.weights
    old, new = dict.fromkeys(service(1, 2, 3)), named(name, 1, 2, 3)
    for act in order:
        if act == "wait":
            assert director.wait() == []
        else:
            director.put({"old": old, "new": new, "both": old | new}[act])
        director.judge(dict.fromkeys([1, 2, 3]))
        assert director.weights == before, act
    assert director.wait() == []
    assert director.weights == before


@pytest.mark.parametrize("order", [["old", "new"], ["new", "old"], ["new", "wait", "old"], ["both"]])
def test_renamed_backends_keep_their_weights(order):
    director = two_in_one_out()
    before = director.weights
    old = dict.fromkeys([key(1), key(2), key(3)])
    new = {key(n + 10): backend(n) for n in (1, 2, 3)}
    for act in order:
        if act == "wait":
            assert director.wait() == []
        else:
            director.put({"old": old, "new": new, "both": old | new}[act])
        assert director.weights == before, act
    assert director.wait() == []
    assert director.weights == before


def test_service_without_a_check_keeps_its_weights_though_its_new_name_is_checked_for_a_moment():
    director = Director({HealthKey(None): TCP, H: UNCHECKED} | service(1, 2))
    before = director.weights
    director.put(named(b"web2", 1, 2))
    director.put({HealthKey(b"web2"): UNCHECKED})
    director.put(dict.fromkeys(service(1, 2)))
    assert director.weights == before
    director.wait()
    assert director.weights == before


def test_verdict_after_a_rename_counts():
    director = two_in_one_out()
    director.put(dict.fromkeys(service(1, 2, 3)) | named(b"web2", 1, 2, 3))
    director.judge({1: False, 3: True}, service=b"web2")
    assert director.weights == {1: 0, 2: 10, 3: 10}


def last_digit(number, port):
    """Return the endpoint of backends whose names end with a digit."""
    return at(number % 10, port)


def gateway(number):
    return {RouteKey(b"r"): Route(ip_network("10.0.0.0/24"), gateway4=IPv4Address("10.9.9.0") + number, method="masq")}


@pytest.mark.parametrize(("up", "weight"), [(True, 10), (False, 0)])
def test_backend_that_moves_to_another_gateway_and_another_checked_port_is_in_or_out_as_before(up, weight):
    director = Director({H: TCP} | service(1) | gateway(1))
    director.judge({1: up})
    director.put({H: HealthCheck(port=9000)} | gateway(2))
    assert director.weights == {1: weight, 2: weight}
    director.wait()
    assert director.weights == {2: weight}


def test_backend_that_moves_to_another_virtual_server_is_in_or_out_as_before():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    director.put({H: HealthCheck(port=9000), F: Frontend(ipv4=VIP, tcp=81)})
    director.wait()
    assert director.weights == {1: 10, 2: 0}


def test_backend_at_another_address_under_the_same_name_is_new():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: True})
    director.put({key(1): backend(9)})
    assert director.weights == {1: 10, 2: 10, 9: 0}


def test_backend_at_another_port_under_the_same_name_is_new():
    director = Director({H: TCP} | service(1))
    director.judge({1: True})
    director.put({key(1): backend(1, tcp=9090)})
    ((_, reals),) = director.pipeline.table.reals.items()
    assert {real.port: settings.weight for real, settings in reals.items()} == {8080: 10, 9090: 0}
    director.wait()
    assert len(reals) == 2, "the old one stays until the new one is up"
    director.judge({1: True}, port=9090)
    director.wait()
    assert [real.port for real in reals] == [9090]


def test_backend_whose_route_is_no_longer_masqueraded_is_in_or_out_as_before():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    director.put({RouteKey(b"r"): Route(ip_network("10.0.0.0/24"), method="droute")})
    director.judge({1: None, 2: None})
    ((_, reals),) = director.pipeline.table.reals.items()
    new = {int(real.address) & 0xFF: settings.weight for real, settings in reals.items() if real.port == WEB.tcp}
    assert new == {1: 10, 2: 0}


def test_one_of_two_backends_at_a_gateway_that_is_renamed_keeps_its_share_of_the_weight():
    director = Director({H: TCP} | service(1, 2) | gateway(1))
    director.judge({1: True, 2: True})
    director.put({key(1): None, key(11): backend(1)})
    assert director.weights == {1: 20}


def test_renamed_backend_of_the_least_weight_keeps_it():
    director = Director({H: TCP} | service(1, weight=1) | gateway(1))
    director.judge({1: True})
    director.put({key(1): None, key(11): backend(1, weight=1)})
    assert director.weights == {1: 1}


@pytest.mark.parametrize("weight", [1, 10])
def test_renamed_backend_at_a_gateway_keeps_its_share_although_no_verdict_is_known_any_more(weight):
    director = Director({H: TCP} | service(1, 2, weight=weight) | gateway(1))
    director.judge({1: True, 2: True})
    director.judge({1: None, 2: None})
    director.put({key(2): None, key(12): backend(2, weight=weight)})
    assert director.weights == {1: 2 * weight}


def test_backend_that_is_in_rotation_without_a_verdict_is_not_put_out_by_one_that_takes_over_from_another():
    director = Director({H: TCP} | service(2, 3) | gateway(1))
    director.judge({2: True, 3: True})
    director.judge({2: None, 3: None})
    director.put({key(3): None, key(1): backend(3, weight=20)})
    assert director.weights == {1: 30}


@pytest.mark.parametrize("judged_first", [True, False])
def test_backend_with_two_names_makes_up_for_no_other_one_at_its_gateway(judged_first):
    director = Director({H: TCP} | service(1, 2) | gateway(1))
    director.judge({1: True, 2: True})
    director.put({key(1): None, key(2): None, key(11): backend(1), key(12): backend(2)})
    if judged_first:
        director.judge({12: True}, at=last_digit)
    director.put({key(21): backend(1), key(22): backend(2)})
    director.judge({12: True, 22: True}, at=last_digit)
    assert director.weights[1] >= 20
    director.judge({12: False, 22: False}, at=last_digit)
    assert director.weights == {1: 10}
    director.put({key(11): None, key(12): None})
    assert director.weights == {1: 10}
    director.judge({21: True}, at=last_digit)
    assert director.weights == {1: 10}


def test_new_backend_at_a_gateway_in_force_does_not_count_before_it_is_up():
    director = Director({H: TCP} | service(1) | gateway(1))
    director.judge({1: True})
    director.put({key(2): backend(2)})
    assert director.weights == {1: 10}


def test_backend_without_a_verdict_does_not_stand_in_for_one_that_fails_at_the_same_gateway():
    director = Director({H: TCP} | service(1, 2) | gateway(1))
    director.judge({1: True})
    director.judge({1: False})
    assert director.weights == {1: 0}


def test_backend_without_a_verdict_does_not_stand_in_for_one_that_fails_as_another_one_leaves():
    director = Director({H: TCP} | service(1, 2, 3) | gateway(1))
    director.judge({1: True, 3: True})
    director.rotation.put_verdict(b"web", b"1", at(1), up=False)
    director.put({key(3): None})
    assert director.weights == {1: 0}


def test_backend_without_a_verdict_does_not_make_up_for_a_lower_weight_as_one_that_is_down_leaves():
    director = Director({H: TCP} | service(1, 2, 3) | gateway(1))
    director.judge({1: True, 2: False})
    director.put({key(1): backend(1, weight=5), key(2): None})
    assert director.weights == {1: 5}


def test_new_backend_does_not_make_up_for_a_lower_weight_of_another_one():
    director = Director({H: TCP} | service(1) | gateway(1))
    director.judge({1: True})
    director.put({key(1): backend(1, weight=5), key(2): backend(2)})
    assert director.weights == {1: 5}


def test_renamed_backends_at_a_gateway_keep_what_another_one_that_comes_up_does_not_make_up_for():
    director = Director({H: TCP} | service(1, 2, 3) | gateway(1))
    director.judge({1: True, 3: True})
    director.rotation.put_verdict(b"web", b"2", at(2), up=True)
    director.put({key(1): None, key(3): None, key(11): backend(1), key(13): backend(3)})
    assert director.weights == {1: 20}


@pytest.mark.parametrize("removed", [False, True])
def test_service_restored_before_its_removal_is_in_or_out_of_rotation_as_before(removed):
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    director.put(WIPED)
    director.judge({1: None, 2: None})
    assert director.weights == {1: 10, 2: 0}
    if removed:
        director.wait()
    director.put({H: TCP} | service(1, 2))
    assert director.weights == ({1: 0, 2: 0} if removed else {1: 10, 2: 0})


def test_keys_put_back_after_a_restart_during_a_hold_keep_what_the_kernel_has():
    (virtual, settings), *_ = virtuals(WEB).items()
    weights = {1: 10, 2: 0}
    reals = {RealServer(backend(n).ipv4, 8080): RealServerSettings(Method.MASQ, w) for n, w in weights.items()}
    director = Director(CHECKED, lambda: table_of([(virtual, settings, reals)]), ours=[virtual])
    assert director.weights == weights
    director.put(service(1, 2))
    assert director.weights == weights
    assert director.wait() == []
