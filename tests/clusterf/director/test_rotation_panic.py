import pytest

from clusterf.config.model import HealthCheck
from clusterf.director.pools import PanicMode
from clusterf.lib.addresses import Family
from tests.clusterf.support.director import INITIALLY_UP, Director, F, H, service

PANICS = HealthCheck(panic_threshold=40, initial="up")


def panic_mode(panic, down, total):
    return PanicMode(b"web", Family.IPV4, panic, down, total, 40.0)


def test_health_is_ignored_while_too_few_backends_are_up():
    director = Director({H: PANICS} | service(1, 2, 3, 4, 5))
    director.judge({1: False, 2: False, 3: False})
    assert director.weights == {1: 0, 2: 0, 3: 0, 4: 10, 5: 10}
    assert director.pipeline.panics == [], "40 % is not less than 40 %"
    director.judge({4: False})
    assert director.weights == dict.fromkeys(range(1, 6), 10)
    assert director.pipeline.panics == [panic_mode(True, 4, 5)]
    director.judge({5: False})
    director.judge({1: True})
    director.judge({2: True})
    assert director.weights == {1: 10, 2: 10, 3: 0, 4: 0, 5: 0}
    assert director.pipeline.panics[1:] == [panic_mode(False, 3, 5)]


def test_panic_puts_no_backend_without_a_verdict_in_rotation():
    director = Director({H: HealthCheck(panic_threshold=90)} | service(1, 2))
    director.judge({1: False})
    assert director.weights == {1: 10, 2: 0}


def test_backend_in_rotation_by_panic_stays_when_its_verdict_is_revoked():
    director = Director({H: PANICS} | service(1, 2))
    director.judge({1: False, 2: False})
    assert director.judge({1: None, 2: None}) == [panic_mode(False, 0, 2)]
    assert director.weights == {1: 10, 2: 10}


@pytest.mark.parametrize("other", [INITIALLY_UP, HealthCheck(panic_threshold=20, initial="up")])
def test_changed_panic_threshold_applies_at_once(other):
    director = Director({H: other} | service(1, 2, 3))
    director.judge({1: False, 2: False})
    assert director.weights == {1: 0, 2: 0, 3: 10}
    director.put({H: PANICS})
    assert director.weights == {1: 10, 2: 10, 3: 10}
    director.put({H: other})
    assert director.weights == {1: 0, 2: 0, 3: 10}
    assert [item.panic for item in director.pipeline.panics] == [True, False]


def test_deleted_service_leaves_panic():
    director = Director({H: PANICS} | service(1, 2))
    director.judge({1: False, 2: False})
    director.put({F: None})
    assert [item.panic for item in director.pipeline.panics] == [True, False]


def test_panic_at_the_start_is_reported_once_and_not_before_begin():
    director = Director({H: PANICS} | service(1, 2, 3), begun=False)
    director.judge({1: False, 2: False})
    director.judge({3: True})
    director.judge({2: True})
    assert director.pipeline.panics == []
    director.judge({2: False})
    director.begin()
    assert director.pipeline.panics == [panic_mode(True, 2, 3)]
    assert director.weights == {1: 10, 2: 10, 3: 10}


def test_panic_costs_only_the_backends_that_are_down():
    director = Director({H: HealthCheck(panic_threshold=50)} | service(*range(1, 101)))
    director.judge({number: number > 50 for number in range(1, 101)})
    news = director.judge({51: False})
    assert news[0].panic
    assert {int(item.real.address) & 0xFF for item in news[1:]} == set(range(1, 51))
    assert all(item.settings.weight == 10 for item in news[1:])
