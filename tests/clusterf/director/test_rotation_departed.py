import pytest

from clusterf.config.model import Frontend, FrontendKey
from tests.clusterf.support.director import TCP, VIP, WEB, Director, F, H, backend, key, service, virtuals

WIPED = dict.fromkeys([F, H, key(1), key(2)])


@pytest.mark.parametrize(("gone", "weights"), [(False, {1: 10, 2: 0}), (True, {1: 0, 2: 0})])
def test_backend_restored_before_the_removal_of_its_virtual_server_begins_is_in_or_out_as_before(gone, weights):
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    director.put(WIPED)
    director.judge({1: None, 2: None})
    for virtual in virtuals(WEB) if gone else virtuals(Frontend(ipv4=VIP, tcp=81)):
        director.rotation.forget_departed(virtual)
    director.put({H: TCP} | service(1, 2))
    assert director.weights == weights


def test_late_news_of_a_removal_changes_nothing_for_backends_that_are_back():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    director.put(WIPED)
    director.put({H: TCP} | service(1, 2))
    (virtual,) = virtuals(WEB)
    director.rotation.forget_departed(virtual)
    assert director.judge({1: None, 2: None}) == []
    assert director.weights == {1: 10, 2: 0}


def test_backend_that_comes_back_after_its_virtual_server_is_new():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: True})
    director.put(WIPED)
    director.judge({1: None, 2: None})
    director.put({H: TCP} | service(1))
    director.put({key(2): backend(2)})
    assert director.weights == {1: 10, 2: 0}


def test_backend_is_new_after_another_service_owned_its_virtual_server():
    rival, there = FrontendKey(b"x"), service(1, 2)
    director = Director({H: TCP} | there)
    director.judge({1: True, 2: True})
    director.put(WIPED)
    director.put({rival: WEB})
    director.judge({1: None, 2: None})
    director.put({H: TCP, rival: None} | there)
    assert director.weights == {1: 0, 2: 0}


def test_backend_of_a_service_that_did_not_own_the_virtual_server_is_new():
    rival, there = FrontendKey(b"a"), service(1, 2)
    director = Director({H: TCP, rival: WEB} | there)
    director.judge({1: True, 2: True})
    director.put({rival: None} | WIPED)
    director.judge({1: None, 2: None})
    director.put({H: TCP} | there)
    assert director.weights == {1: 0, 2: 0}


def test_backend_that_comes_back_at_another_address_is_new():
    director = Director({H: TCP} | service(1))
    director.judge({1: True})
    director.put({F: None})
    director.put({F: WEB, key(1): backend(9)})
    assert director.weights == {9: 0}
