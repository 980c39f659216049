"""A check of a backend's own is in force for that backend: its verdict, its lapse, and its time to prove itself."""

import pytest

from clusterf.config.model import BackendCheck, HealthCheck, HealthKey
from tests.clusterf.support.director import TCP, UNCHECKED, WEB, Director, F, H, backend, key

QUICK = HealthCheck(interval=1, timeout=1, fall=2)
LABEL, OPERATOR = BackendCheck(QUICK, "label"), BackendCheck(QUICK)


def labelled(*numbers, own=LABEL, **more):
    return {key(number): backend(number, health=own, **more) for number in numbers}


def test_label_takes_weight_from_the_backend_that_has_it_and_no_other():
    director = Director({F: WEB, key(1): backend(1)} | labelled(2))
    assert director.weights == {1: 10, 2: 0}, "the one without a check counts at once"
    director.judge({2: False})
    assert director.weights == {1: 10, 2: 0}
    director.judge({2: True})
    assert director.weights == {1: 10, 2: 10}


def test_label_that_appears_takes_no_weight_before_its_verdict():
    director = Director({F: WEB, key(1): backend(1), key(2): backend(2)})
    director.put(labelled(2))
    assert director.weights == {1: 10, 2: 10}
    director.judge({2: False})
    assert director.weights == {1: 10, 2: 0}


@pytest.mark.parametrize("gone", [{key(1): backend(1)}, labelled(1, own=BackendCheck(UNCHECKED)), {H: UNCHECKED}])
def test_backend_that_is_down_when_its_own_check_goes_stays_out_for_a_while(gone):
    director = Director({F: WEB} | labelled(1, 2))
    director.judge({1: False, 2: True})
    director.put(gone)
    director.judge({1: None})
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(QUICK.interval * QUICK.fall - 0.5)
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(0.5)
    assert director.weights == {1: 10, 2: 10}


def test_backend_that_is_down_by_the_check_of_its_service_stays_out_for_as_long_as_that_says():
    director = Director({F: WEB, H: TCP} | labelled(1, 2))
    director.judge({1: False, 2: True})
    director.put(labelled(1, own=BackendCheck(UNCHECKED)))
    director.pass_time(TCP.interval * TCP.fall - 1)
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(1)
    assert director.weights == {1: 10, 2: 10}


def test_check_of_the_service_that_a_label_set_moves_to_its_backends_without_a_change():
    # as at the upgrade of a node with the role docker
    director = Director({F: WEB, H: QUICK, key(1): backend(1), key(2): backend(2)})
    director.judge({1: False, 2: True})
    assert director.put(labelled(1, 2)) == []
    assert director.put({H: None}) == []
    director.pass_time(100)
    assert director.weights == {1: 0, 2: 10}


def test_other_backends_of_a_service_that_loses_the_check_of_a_label_stay_out_for_a_while():
    director = Director({F: WEB, H: TCP, key(1): backend(1)} | labelled(2))
    director.judge({1: False, 2: True})
    director.put({H: None})
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(TCP.interval * TCP.fall)
    assert director.weights == {1: 10, 2: 10}


def test_panic_is_a_matter_of_the_service():
    own = BackendCheck(HealthCheck(panic_threshold=100, on_down="remove"))
    director = Director({F: WEB} | labelled(1, 2, own=own))
    director.judge({1: True, 2: False})
    assert director.weights == {1: 10, 2: 0}
    director.put({H: HealthCheck(type="none", panic_threshold=60)})
    assert director.weights == {1: 10, 2: 10}
    director.put({H: HealthCheck(type="none", on_down="remove")})
    assert director.weights == {1: 10}
    director.put({H: None, HealthKey(None): HealthCheck(panic_threshold=60)})
    assert director.weights == {1: 10, 2: 10}


def test_new_backends_prove_themselves_in_the_time_of_their_own_checks():
    slow = BackendCheck(HealthCheck(interval=100, timeout=10, fall=1))
    director = Director({F: WEB} | labelled(1))
    director.judge({1: True})
    director.put({key(1): None} | labelled(2) | labelled(3, own=slow))
    (virtual,) = director.pipeline.table.virtuals
    director.judge({2: False, 3: False})
    proving = director.pipeline.merger.proving(virtual, director.pipeline.now)
    assert proving.until is not None
    assert proving.until >= director.pipeline.now + 110


def test_backend_with_an_invalid_check_is_checked_though_nothing_else_is():
    director = Director({F: WEB, key(1): backend(1)} | labelled(2, own=BackendCheck(origin="invalid")))
    assert director.weights == {1: 10, 2: 0}
    director.judge({2: True})
    director.put({HealthKey(None): UNCHECKED})
    assert director.weights == {1: 10, 2: 10}
