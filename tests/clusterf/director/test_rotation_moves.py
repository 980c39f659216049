"""A backend that moves to another real server or virtual server stays in or out of rotation, and for as long."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from clusterf.config.model import Frontend, HealthCheck, Route, RouteKey
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, table_of
from clusterf.lib.addresses import Endpoint
from tests.clusterf.support.director import (
    TCP,
    VIP,
    VIP6,
    WEB,
    Director,
    F,
    H,
    backend,
    key,
    service,
    virtuals,
)

SIX = IPv6Address("fd00::1")
LAPSE = TCP.interval * TCP.fall
TWO, THREE = Frontend(ipv4=VIP, tcp=80, udp=80), Frontend(ipv4=VIP, tcp=80, udp=80, sctp=80)
BOTH, BOTH_81 = (Frontend(ipv4=VIP, ipv6=VIP6, tcp=port) for port in (80, 81))
WEB_81 = Frontend(ipv4=VIP, tcp=81)
((AT_80,), (AT_81,)) = virtuals(WEB), virtuals(WEB_81)
GATEWAY = {RouteKey(b"r"): Route(ip_network("10.0.0.0/24"), gateway4=IPv4Address("10.9.9.1"), method="masq")}


def states(director, frontend, number=1):
    """Return whether a backend is in rotation in each virtual server of the frontend."""
    return [director.rotation.in_rotation(b"web", b"%d" % number, virtual) for virtual in virtuals(frontend)]


def found(*weights):
    """Return how to read a kernel that has the backend 1 with these weights, for TCP and UDP."""
    real, servers = RealServer(IPv4Address("10.0.0.1"), 8080), virtuals(TWO).items()
    reals = [{real: RealServerSettings(Method.MASQ, weight)} for weight in weights]
    return lambda: table_of([(*server, each) for server, each in zip(servers, reals, strict=True)])


@pytest.mark.parametrize("up", [True, False])
def test_each_family_moves_by_itself(up):
    director = Director({H: TCP, F: BOTH, key(1): backend(1, ipv6=SIX)})
    director.judge({1: up})
    director.judge({1: not up}, at=lambda _, port: Endpoint(SIX.packed, port))
    director.put({H: HealthCheck(port=9000), F: BOTH_81})
    assert states(director, BOTH_81) == [up, not up]


@pytest.mark.parametrize(("tcp", "udp"), [(10, 0), (0, 10), (10, 10), (0, 0)])
def test_backend_is_in_rotation_in_one_more_virtual_server_if_it_is_in_another(tcp, udp):
    director = Director({H: TCP, F: TWO, key(1): backend(1, udp=8080)}, found(tcp, udp))
    director.put({key(1): backend(1, udp=8080, sctp=8080), F: THREE})
    assert states(director, THREE) == [tcp > 0, udp > 0, tcp + udp > 0]


@pytest.mark.parametrize(("tcp", "udp"), [(10, 0), (0, 10)])
def test_backend_that_moves_to_a_gateway_is_in_rotation_where_it_was(tcp, udp):
    director = Director({H: TCP, F: TWO, key(1): backend(1, udp=8080)}, found(tcp, udp))
    director.put(GATEWAY)
    assert states(director, TWO) == [tcp > 0, udp > 0]


def test_backend_that_moves_as_its_check_comes_stays_in_rotation():
    director = Director(service(1))
    director.put({H: TCP, F: WEB_81})
    assert states(director, WEB_81) == [True]


@pytest.mark.parametrize("up", [True, False])
def test_backend_that_moves_as_its_check_goes_stays_in_or_out(up):
    director = Director({H: TCP} | service(1))
    director.judge({1: up})
    director.put({H: None, F: WEB_81})
    assert states(director, WEB_81) == [up]
    director.pass_time(LAPSE)
    assert states(director, WEB_81) == [True]


@pytest.mark.parametrize(("move", "virtual"), [(GATEWAY, AT_80), ({F: WEB_81}, AT_81)])
def test_backend_that_moves_before_it_was_up_is_unproven_still(move, virtual):
    director = Director({H: TCP} | service(1))
    director.judge({1: True})
    director.put({key(2): backend(2)})
    director.put(move)
    assert director.rotation.proving(virtual, b"web", director.pipeline.now).unproven == 1
    director.judge({2: True})
    assert director.rotation.proving(virtual, b"web", director.pipeline.now).unproven == 0


def test_backend_that_was_up_once_is_not_unproven_when_it_moves_while_it_is_down():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: True})
    director.judge({2: False})
    director.put({F: WEB_81})
    assert director.rotation.proving(AT_81, b"web", director.pipeline.now).unproven == 0


@pytest.mark.parametrize(("weight", "unproven"), [(0, 0), (1, 1)])
def test_backend_without_weight_has_nothing_to_prove(weight, unproven):
    director = Director({H: TCP, F: WEB})
    director.put({key(1): backend(1, weight=weight)})
    assert director.rotation.proving(AT_80, b"web", 0.0).unproven == unproven


def test_time_out_of_rotation_without_a_check_goes_on_in_another_virtual_server():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: False, 2: True})
    director.put({H: None})
    director.pass_time(LAPSE - 5)
    director.put({F: WEB_81})
    assert director.rotation.due == LAPSE
    assert [states(director, WEB_81, number) for number in (1, 2)] == [[False], [True]]
    director.pass_time(5)
    assert states(director, WEB_81) == [True]
    assert director.rotation.due is None
