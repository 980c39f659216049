from ipaddress import IPv4Address, ip_network

import pytest
from msgspec import structs

from clusterf.config.model import Route, RouteKey
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, table_of
from tests.clusterf.support.director import INITIALLY_UP, TCP, WEB, Director, F, H, backend, key, service
from tests.clusterf.support.pipeline import Pipeline


def kernel(**weights):
    """Return how to read a table that has the service, with these weights of its real servers."""
    ((virtual, settings),) = Pipeline.of({F: WEB}).table.virtuals.items()
    reals = {
        RealServer(IPv4Address("10.0.0.0") + int(number[1:]), 8080): RealServerSettings(Method.MASQ, weight)
        for number, weight in weights.items()
    }
    return lambda: table_of([(virtual, settings, reals)])


@pytest.mark.parametrize(("check", "new"), [(TCP, 0), (INITIALLY_UP, 10)])
def test_backend_in_the_kernel_at_the_start_is_in_or_out_of_rotation_as_there(check, new):
    director = Director({H: check} | service(1, 2, 3), kernel(n1=1, n2=0))
    assert director.weights == {1: 10, 2: 0, 3: new}
    director.judge({1: False, 2: True})
    assert director.weights == {1: 0, 2: 10, 3: new}


@pytest.mark.parametrize(("removed", "weight"), [(False, 10), (True, 0)])
def test_kernel_decides_until_what_is_not_wanted_has_been_removed(removed, weight):
    director = Director({H: TCP} | service(1), kernel(n1=10, n2=10))
    if removed:
        director.wait()
    director.put({key(2): backend(2)})
    assert director.weights == {1: 10, 2: weight}


def test_all_members_are_new_until_begin():
    director = Director({H: INITIALLY_UP} | service(1, 2), kernel(n1=10), begun=False)
    director.put({H: TCP})
    director.judge({1: False})
    director.judge({1: None})
    director.begin()
    assert director.weights == {1: 10, 2: 0}


def test_kernel_is_not_read_for_unchecked_backends():
    def never():
        raise AssertionError("read")

    assert Director(service(1), never, begun=False).weights == {1: 10}


def test_kernel_is_read_once():
    reads = []
    in_force = kernel(n1=10)
    Director({H: TCP} | service(1, 2, 3), lambda: reads.append(1) or in_force(), begun=False)
    assert reads == [1]


def at_a_gateway(weight, *numbers, check=TCP):
    """Return backends of 10 each that meet at one real server, which has this weight in the kernel, before `begin`."""
    route = Route(ip_network("10.0.0.0/24"), gateway4=IPv4Address("10.9.9.1"), method="masq")
    configuration = {H: check, RouteKey(b"r"): route} | service(*numbers)
    ((virtual, reals),) = Pipeline.of(configuration).table.reals.items()
    (settings,) = Pipeline.of({F: WEB}).table.virtuals.values()
    reals = {real: structs.replace(known, weight=weight) for real, known in reals.items()}
    found = table_of([(virtual, settings, reals)])
    return Director(configuration, lambda: found, begun=False), found


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1)])
def test_of_several_backends_at_a_gateway_those_that_fail_never_count(order):
    weights = {1: 20, 2: 5, 3: 10}
    director, table = at_a_gateway(15, 1, 2, 3)
    director.put({key(n): backend(n, weight=weight) for n, weight in weights.items()})
    director.begin(table)
    for number in order:
        assert director.weights == {1: 15}
        director.judge({number: number != 1})
    assert director.weights == {1: 15}


def test_backends_that_move_before_all_is_known_replace_what_is_in_force_once_they_are_up():
    director, table = at_a_gateway(20, 1, 2)
    director.put({RouteKey(b"r"): Route(ip_network("10.0.0.0/24"), gateway4=IPv4Address("10.9.9.2"), method="masq")})
    director.begin(table)
    director.wait()
    assert director.weights == {1: 20, 2: 0}
    director.judge({1: True, 2: True})
    director.wait()
    assert director.weights == {2: 20}


def test_backends_that_move_to_what_is_in_force_before_all_is_known_have_nothing_to_prove():
    director, table = at_a_gateway(20, 1, 2)
    away = Route(ip_network("10.0.0.0/24"), gateway4=IPv4Address("10.9.9.2"), method="masq")
    back = structs.replace(away, gateway4=IPv4Address("10.9.9.1"))
    director.put({RouteKey(b"r"): away})
    director.put({RouteKey(b"r"): back})
    director.begin(table)
    assert director.weights == {1: 20}
    (virtual,) = director.pipeline.table.virtuals
    assert not director.pipeline.merger.proving(virtual, 0.0).unproven


def test_backend_without_a_verdict_makes_up_for_none_that_was_up_and_fails():
    director, table = at_a_gateway(20, 1, 2, 3)
    director.judge({1: True, 2: True})
    director.begin(table)
    director.judge({1: False})
    assert director.weights == {1: 10}


@pytest.mark.parametrize(
    ("found", "verdicts", "weight"),
    [
        (20, {2: True, 3: True}, 20),
        (20, {2: True, 3: False}, 20),
        (10, {2: False, 3: False}, 10),
        (10, {3: True}, 10),
        (20, {3: True}, 20),
        (20, {}, 20),
        (0, {3: True}, 10),
        (35, {}, 30),
        (9, {}, 10),
    ],
)
def test_of_several_backends_at_a_gateway_only_so_many_are_in_rotation_as_its_weight_needs(found, verdicts, weight):
    director, table = at_a_gateway(found, 1, 2, 3)
    director.judge(verdicts)
    director.begin(table)
    assert director.weights == {1: weight}
    director.judge({1: True})
    assert director.weights[1] >= weight


@pytest.mark.parametrize(("found", "weight"), [(10, 10), (20, 20)])
def test_of_two_backends_at_a_gateway_the_one_without_a_verdict_is_in_rotation_if_its_weight_needs_it(found, weight):
    director, table = at_a_gateway(found, 1, 2)
    director.judge({2: True})
    director.begin(table)
    assert director.weights == {1: weight}
