"""Verdicts on endpoints that a backend has, had, or is to have, in either family."""

from ipaddress import IPv6Address

import pytest
from msgspec import structs

from clusterf.config.model import Frontend
from clusterf.director.unproven import Proving
from clusterf.lib.addresses import Endpoint
from tests.clusterf.support.director import INITIALLY_UP, TCP, VIP, VIP6, Director, F, H, at, backend, key, service

SIX = IPv6Address("fd00::")
BOTH = {F: Frontend(ipv4=VIP, ipv6=VIP6, tcp=80)}


def at_six(number, port=8080):
    return Endpoint((SIX + number).packed, port)


def weights_by_family(director):
    return {
        virtual.family.name: {int(real.address) & 0xFF: settings.weight for real, settings in reals.items()}
        for virtual, reals in director.pipeline.table.reals.items()
    }


def test_verdict_counts_in_the_family_of_its_endpoint():
    director = Director({H: INITIALLY_UP} | service(1, 2, ipv6=SIX + 1) | BOTH)
    director.put({key(2): backend(2, ipv6=SIX + 2)})
    director.judge({1: False, 2: True})
    director.judge({1: True, 2: False}, at=at_six)
    assert weights_by_family(director) == {"IPV4": {1: 0, 2: 10}, "IPV6": {1: 10, 2: 0}}


@pytest.mark.parametrize("check", [TCP, INITIALLY_UP])
def test_backends_without_a_verdict_are_listed_with_their_endpoints(check):
    director = Director({H: check} | service(1, 2, 3))
    assert list(director.rotation.undecided()) == [(b"web", b"%d" % n, at(n)) for n in (1, 2, 3)]
    director.judge({1: True, 3: False})
    assert list(director.rotation.undecided()) == [(b"web", b"2", at(2))]
    director.judge({3: None})
    assert [name for _, name, _ in director.rotation.undecided()] == [b"2", b"3"]
    assert director.rotation.unknown == 2


def test_verdict_on_an_endpoint_that_comes_later_counts_from_then_on():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: True})
    director.judge({1: False}, port=9090)
    assert director.weights == {1: 10, 2: 10}
    director.put({key(1): backend(1, tcp=9090)})
    assert director.weights == {1: 0, 2: 10}


@pytest.mark.parametrize("up", [True, False])
def test_verdict_on_an_endpoint_counts_again_when_the_backend_returns_to_it(up):
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: up, 2: True})
    director.put({key(1): backend(1, tcp=9090)})
    director.judge({1: not up}, port=9090)
    director.wait()
    assert director.weights == {1: 0 if up else 10, 2: 10}
    director.put({key(1): backend(1)})
    director.wait()
    assert director.weights == {1: 10 if up else 0, 2: 10}


def test_revoked_verdict_on_an_endpoint_does_not_count_later():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: True})
    director.judge({1: False}, port=9090)
    director.judge({1: None}, port=9090)
    director.put({H: structs.replace(TCP, port=9090)})
    assert director.weights == {1: 10, 2: 10}


def test_only_members_that_are_probed_and_have_no_verdict_are_undecided():
    director = Director({H: TCP} | service(1))
    ((virtual, _),) = director.pipeline.table.reals.items()
    rotation = director.rotation
    assert rotation.is_undecided(b"web", b"1", virtual)
    assert not rotation.is_undecided(b"web", b"unknown", virtual)
    rotation.put_verdict(b"web", b"1", at(1), up=True)
    assert not rotation.is_undecided(b"web", b"1", virtual)


def test_new_backend_of_a_running_service_is_unproven_until_it_has_a_verdict_of_up():
    director = Director({H: TCP} | service(1))
    director.judge({1: True})
    ((virtual, _),) = director.pipeline.table.reals.items()
    director.put({key(2): backend(2)})
    proving = director.rotation.proving(virtual, b"web", director.pipeline.now)
    assert proving.unproven == 1
    assert proving.until is not None
    director.judge({2: True})
    assert director.rotation.proving(virtual, b"web", director.pipeline.now).unproven == 0
    assert director.rotation.proving(virtual, b"unknown", 0.0).unproven == 0


def test_time_to_prove_runs_from_when_the_backend_was_new():
    director = Director({H: TCP} | service(1))
    director.judge({1: True})
    ((virtual, _),) = director.pipeline.table.reals.items()
    director.put({key(2): backend(2)})
    first = director.rotation.proving(virtual, b"web", director.pipeline.now).until
    director.pass_time(5.0)
    director.put({key(3): backend(3)})
    director.put({key(3): None})
    assert director.rotation.proving(virtual, b"web", director.pipeline.now).until == first
    director.pass_time(10_000.0)
    assert director.rotation.proving(virtual, b"web", director.pipeline.now) == Proving(1, None)
