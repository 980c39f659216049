"""Targets that are refused: they are not watched, and their backends keep the verdicts that they had."""

from ipaddress import IPv4Address

import pytest

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey
from clusterf.health.monitor import Monitor
from clusterf.health.probe_policy import ProbePolicy
from clusterf.health.targets import Target, Targets
from clusterf.health.verdict import StoredVerdict, Verdict
from clusterf.health.watch_list import WatchList
from clusterf.lib.addresses import parse_endpoint
from tests.clusterf.support.monitor_world import DOWN, SUCCESS, UP, WALL

NOW = 1000.0
WEB, HEALTH = FrontendKey(b"web"), HealthKey(b"web")
ONE, TWO = BackendKey(b"web", b"1"), BackendKey(b"web", b"2")
AT = parse_endpoint("10.0.0.1:80")
KEY, OTHER = (b"web", b"1", AT), (b"web", b"2", AT)
GET, POST = HealthCheck(type="http", fall=1), HealthCheck(type="http", fall=1, method="POST")
REASON = "method POST is not allowed (--health-methods)"
UNKNOWN = StoredVerdict(Verdict(None, WALL, REASON), False)


def backend(at=AT):
    return Backend(ipv4=at.address, tcp=at.port)


@pytest.fixture
def watch_list():
    watch_list = WatchList(Targets(policy=ProbePolicy(methods=["GET"])), Monitor(references=True))
    watch_list.update(WEB, Frontend(ipv4=IPv4Address("10.1.1.1"), tcp=80))
    watch_list.update(HEALTH, POST)
    return watch_list


def apply(watch_list, *updates):
    for key, value in updates:
        watch_list.update(key, value)
    return watch_list.apply(100, NOW, WALL)


def test_refused_target_is_not_probed_and_has_no_verdict(watch_list):
    assert apply(watch_list, (ONE, backend())) == {KEY: UNKNOWN}
    assert watch_list.monitor.wake_at() is None
    assert len(watch_list.monitor) == 0
    assert list(watch_list.take_refused()) == [Target(AT, POST, REASON)]


def test_target_is_reported_once_until_it_is_gone(watch_list):
    apply(watch_list, (ONE, backend()))
    watch_list.take_refused()
    apply(watch_list, (TWO, backend()))
    apply(watch_list, (ONE, None))
    assert list(watch_list.take_refused()) == []
    apply(watch_list, (TWO, None))
    apply(watch_list, (TWO, backend()))
    assert len(watch_list.take_refused()) == 1
    apply(watch_list, (TWO, None), (ONE, backend()))
    apply(watch_list, (ONE, None))
    assert list(watch_list.take_refused()) == [], "it is gone before it was reported"


@pytest.mark.parametrize("stored", [UP, DOWN])
def test_stored_verdict_stays(watch_list, stored):
    watch_list.restore({KEY: stored})
    assert apply(watch_list, (ONE, backend()), (TWO, backend())) == {KEY: stored, OTHER: UNKNOWN}
    watch_list.forget_stored()
    changed = HealthCheck(type="http", fall=2, method="POST")
    assert apply(watch_list, (HEALTH, changed)) == {KEY: stored, OTHER: UNKNOWN}


def test_verdict_by_a_check_that_is_allowed_stays_when_another_takes_its_place(watch_list):
    apply(watch_list, (HEALTH, GET), (ONE, backend()))
    monitor = watch_list.monitor
    [target] = monitor.take(monitor.wake_at())
    transitions = monitor.finished(target, SUCCESS, NOW, WALL)
    assert watch_list.updates(transitions)[KEY].verdict.up
    up = monitor.stored(target)
    assert apply(watch_list, (HEALTH, POST)) == {KEY: up}
    assert len(monitor) == 0
    assert monitor.wake_at() is None
    assert apply(watch_list, (HEALTH, GET)) == {KEY: up}
    assert len(monitor) == 1


def test_backend_that_moves_does_not_keep_its_verdict(watch_list):
    elsewhere = parse_endpoint("10.0.0.2:80")
    watch_list.restore({KEY: UP})
    apply(watch_list, (ONE, backend()))
    watch_list.forget_stored()
    assert apply(watch_list, (ONE, backend(elsewhere))) == {KEY: None, (b"web", b"1", elsewhere): UNKNOWN}
    assert apply(watch_list, (ONE, backend())) == {(b"web", b"1", elsewhere): None, KEY: UNKNOWN}


def test_target_is_probed_once_it_is_allowed(watch_list):
    apply(watch_list, (ONE, backend()))
    assert apply(watch_list, (HEALTH, GET)) == {KEY: None}
    assert len(watch_list.monitor) == 1
