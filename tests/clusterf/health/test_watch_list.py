from ipaddress import IPv4Address

import pytest

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey
from clusterf.health.monitor import Monitor
from clusterf.health.targets import Target, Targets
from clusterf.health.watch_list import WatchList
from clusterf.lib.addresses import parse_endpoint
from tests.clusterf.support.monitor_world import DOWN, FAILURE, SUCCESS, UP, WALL

NOW = 1000.0
WEB, HEALTH = FrontendKey(b"web"), HealthKey(b"web")
ONE, TWO = BackendKey(b"web", b"1"), BackendKey(b"web", b"2")
AT, ELSEWHERE = parse_endpoint("10.0.0.1:80"), parse_endpoint("10.0.0.2:80")
KEY = (b"web", b"1", AT)


def backend(at):
    return Backend(ipv4=at.address, tcp=at.port)


@pytest.fixture
def watch_list():
    watch_list = WatchList(Targets(), Monitor(references=False))
    watch_list.update(WEB, Frontend(ipv4=IPv4Address("10.1.1.1"), tcp=80))
    watch_list.update(HEALTH, HealthCheck(fall=1))
    return watch_list


def apply(watch_list, *updates):
    for key, value in updates:
        watch_list.update(key, value)
    return watch_list.apply(100, NOW, WALL)


def probe(watch_list, result):
    """Probe all targets, and return the verdicts that change."""
    monitor = watch_list.monitor
    now = monitor.wake_at()
    transitions = [one for target in monitor.take(now) for one in monitor.finished(target, result, now, WALL)]
    return watch_list.updates(transitions)


def test_new_target_begins_with_its_stored_verdict(watch_list):
    watch_list.restore({KEY: DOWN})
    assert apply(watch_list, (ONE, backend(AT)), (TWO, backend(ELSEWHERE))) == {
        KEY: DOWN,
        (b"web", b"2", ELSEWHERE): None,
    }
    assert len(watch_list.monitor) == 2


def test_stored_verdicts_are_not_used_once_forgotten(watch_list):
    watch_list.restore({KEY: DOWN})
    watch_list.forget_stored()
    assert apply(watch_list, (ONE, backend(AT))) == {KEY: None}


def test_target_of_a_removed_backend_is_forgotten(watch_list):
    watch_list.restore({KEY: UP})
    apply(watch_list, (ONE, backend(AT)))
    assert apply(watch_list, (ONE, None)) == {KEY: None}
    assert len(watch_list.monitor) == 0


def test_target_is_watched_until_its_last_backend_is_removed(watch_list):
    watch_list.restore({KEY: UP})
    apply(watch_list, (ONE, backend(AT)), (TWO, backend(AT)))
    assert apply(watch_list, (ONE, None)) == {KEY: None}
    assert len(watch_list.monitor) == 1
    assert apply(watch_list, (ONE, backend(AT)), (TWO, None)) == {(b"web", b"2", AT): None, KEY: UP}
    assert len(watch_list.monitor) == 1


def test_changed_check_keeps_the_verdict(watch_list):
    watch_list.restore({KEY: UP})
    apply(watch_list, (ONE, backend(AT)))
    watch_list.forget_stored()
    assert apply(watch_list, (HEALTH, HealthCheck(fall=2))) == {KEY: UP}
    moved = (b"web", b"1", parse_endpoint("10.0.0.1:81"))
    assert apply(watch_list, (HEALTH, HealthCheck(port=81))) == {KEY: None, moved: UP}


def test_moved_backend_has_no_verdict(watch_list):
    watch_list.restore({KEY: UP})
    apply(watch_list, (ONE, backend(AT)))
    assert apply(watch_list, (ONE, backend(ELSEWHERE))) == {KEY: None, (b"web", b"1", ELSEWHERE): None}


def test_transition_updates_all_backends_of_its_target(watch_list):
    apply(watch_list, (ONE, backend(AT)), (TWO, backend(AT)))
    updates = probe(watch_list, SUCCESS)
    assert updates.keys() == {KEY, (b"web", b"2", AT)}
    assert all(stored.verdict.up for stored in updates.values())
    assert list(watch_list.backends(Target(AT, HealthCheck(fall=1)))) == [ONE, TWO]
    apply(watch_list, (TWO, None))
    updates = probe(watch_list, FAILURE)
    assert [(key, stored.verdict.reason) for key, stored in updates.items()] == [(KEY, "refused")]


def test_changes_are_applied_in_parts(watch_list):
    for number in range(10):
        watch_list.update(BackendKey(b"web", b"%d" % number), backend(AT))
    sizes = []
    while watch_list.pending:
        sizes.append(len(watch_list.apply(4, NOW, WALL)))
    assert sizes == [4, 4, 2]
