"""What leaves the configuration stays in force until it may go."""

from ipaddress import IPv4Address

import pytest
from msgspec import structs

from clusterf.config.model import BackendCheck, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey
from clusterf.director.removal_hold import CALM, LONGEST, HoldPolicy
from clusterf.director.unproven import GRACE
from clusterf.director.unproven import LONGEST as LONGEST_PROVING
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, table_of
from tests.clusterf.support.director import (
    INITIALLY_UP,
    TCP,
    UNCHECKED,
    VIP,
    WEB,
    Director,
    F,
    H,
    backend,
    key,
    service,
    virtuals,
)

PROVING = (TCP.interval + TCP.timeout) * TCP.fall
HELD = HoldPolicy(60.0)


def serving(*numbers, check=TCP, **options):
    """Return a director whose backends of these numbers are all up."""
    director = Director({H: check} | service(*numbers), **options)
    director.judge(dict.fromkeys(numbers, True))
    return director


def replace(director, old, new, **fields):
    """Replace backends in one change."""
    director.put({key(n): None for n in old} | {key(n): backend(n, **fields) for n in new})


def test_removal_waits_until_the_configuration_is_calm():
    director = serving(1, 2)
    director.put({key(1): None})
    assert director.weights == {1: 10, 2: 10}
    director.wait(CALM / 2)
    assert director.weights == {1: 10, 2: 10}
    director.wait(CALM / 2)
    assert director.weights == {2: 10}


def test_what_left_a_moment_ago_does_not_go_with_what_has_waited_for_long():
    director = serving(1, 2, 3)
    director.put({key(1): None})
    director.wait(0)
    director.pass_time(LONGEST - CALM / 2)
    director.put({key(2): None})
    assert director.weights == {1: 10, 2: 10, 3: 10}
    director.wait(CALM / 2)
    assert director.weights == {2: 10, 3: 10}
    director.wait(CALM)
    assert director.weights == {3: 10}


def test_emptying_without_successors_is_obeyed():
    director = serving(1, 2)
    director.put({key(1): None, key(2): None})
    director.wait()
    assert director.weights == {}


def test_old_backends_stay_until_the_new_ones_have_their_weight():
    director = serving(1, 2)
    replace(director, [1, 2], [3, 4])
    director.wait()
    assert director.weights == {1: 10, 2: 10, 3: 0, 4: 0}
    director.judge({3: True})
    director.wait(0)
    assert len(director.weights) == 3, "as much weight goes as has come"
    assert sum(director.weights.values()) == 20
    director.judge({4: True})
    director.wait(0)
    assert director.weights == {3: 10, 4: 10}


def test_old_backend_stays_until_all_of_many_new_ones_that_weigh_less_were_up():
    director = serving(1)
    replace(director, [1], [2, 3], weight=1)
    director.wait()
    director.judge({2: True})
    director.wait()
    assert director.weights == {1: 10, 2: 1, 3: 0}
    director.judge({3: True})
    director.wait()
    assert director.weights == {2: 1, 3: 1}


def test_old_backends_go_at_once_when_the_new_ones_are_not_checked():
    director = serving(1, check=UNCHECKED)
    replace(director, [1], [2])
    director.wait()
    assert director.weights == {2: 10}


def test_old_backends_stay_until_new_ones_that_count_from_the_beginning_were_up():
    director = serving(1, 2, check=INITIALLY_UP)
    replace(director, [1, 2], [3, 4])
    director.wait()
    assert director.weights == {1: 10, 2: 10, 3: 10, 4: 10}
    director.judge({3: True})
    director.wait(0)
    assert len(director.weights) == 3
    director.judge({4: False})
    director.wait(0)
    assert len(director.weights) == 3
    director.wait(PROVING)
    assert director.weights == {3: 10, 4: 0}


def test_old_backends_stay_though_new_ones_that_all_fail_count_in_a_panic():
    director = serving(1, 2, check=structs.replace(TCP, panic_threshold=50.0))
    replace(director, [1, 2], [3, 4])
    director.wait()
    director.judge({3: False, 4: False})
    director.wait(0)
    assert director.weights == {1: 10, 2: 10, 3: 10, 4: 10}
    director.judge({3: True, 4: True})
    director.wait(0)
    assert director.weights == {3: 10, 4: 10}


@pytest.mark.parametrize("at_once", [True, False])
def test_old_backends_stay_while_new_ones_are_out_as_their_check_has_gone(at_once):
    director = serving(1, 2)
    replace(director, [1, 2], [3, 4])
    if not at_once:
        director.wait()
    director.put({H: None})
    director.wait()
    assert director.weights == {1: 10, 2: 10, 3: 0, 4: 0}
    director.pass_time(TCP.interval * TCP.fall)
    director.wait(0)
    assert director.weights == {3: 10, 4: 10}


def test_old_backends_without_weight_do_not_stay():
    director = serving(1, 2)
    director.judge({1: False})
    replace(director, [1, 2], [3, 4])
    director.wait()
    assert director.weights == {2: 10, 3: 0, 4: 0}


def test_old_backends_stay_although_the_new_ones_fail_until_these_had_their_time(caplog):
    director = serving(1)
    replace(director, [1], [2])
    director.wait()
    director.judge({2: False})
    director.wait(PROVING - 1)
    assert director.weights == {1: 10, 2: 0}
    director.wait(1)
    assert director.weights == {2: 0}
    assert caplog.messages == [
        "ipvs: 198.51.100.1:80/tcp: 1 real servers removed; of the backends that replace them 1 were not up in time"
    ]


def test_old_backends_stay_longer_for_new_ones_without_any_verdict():
    director = serving(1)
    replace(director, [1], [2])
    director.wait()
    director.wait(PROVING + GRACE - 1)
    assert director.weights == {1: 10, 2: 0}
    director.wait(1)
    assert director.weights == {2: 0}


def test_old_backends_do_not_stay_for_as_long_as_somebody_has_a_check_take():
    director = serving(1)
    slow = HealthCheck(interval=86400.0, fall=1000)
    director.put({key(1): None, key(2): structs.replace(backend(2), health=BackendCheck(slow))})
    director.wait()
    director.wait(LONGEST_PROVING + GRACE - 1)
    assert director.weights == {1: 10, 2: 0}
    director.wait(1)
    assert director.weights == {2: 0}


def test_old_backends_go_when_the_new_ones_are_deleted_too(caplog):
    director = serving(1)
    replace(director, [1], [2])
    director.wait()
    director.put({key(2): None})
    director.wait()
    assert director.weights == {}
    assert not caplog.messages


def test_backend_that_has_long_failed_is_no_successor():
    director = serving(1)
    director.put({key(2): backend(2)})
    director.judge({2: False})
    director.wait(PROVING)
    director.put({key(1): None})
    director.wait()
    assert director.weights == {2: 0}


def test_backend_that_was_up_before_is_no_successor():
    director = serving(1, 2)
    director.judge({2: False})
    director.put({key(1): None})
    director.wait()
    assert director.weights == {2: 0}


def test_new_backends_that_come_a_moment_later_are_successors():
    director = serving(1)
    director.put({key(1): None})
    director.put({key(2): backend(2)})
    director.wait()
    assert director.weights == {1: 10, 2: 0}
    director.judge({2: True})
    director.wait()
    assert director.weights == {2: 10}


def test_old_backend_that_is_put_back_stays():
    director = serving(1)
    replace(director, [1], [2])
    director.wait()
    director.put({key(1): backend(1), key(2): None})
    director.wait()
    assert director.weights == {1: 10}


def test_old_owner_of_a_virtual_server_serves_until_the_new_one_has_weight():
    director = Director({H: TCP} | service(1) | {HealthKey(b"new"): TCP, BackendKey(b"new", b"2"): backend(2)})
    director.judge({1: True})
    director.put({F: None, FrontendKey(b"new"): WEB})
    director.wait()
    assert director.weights == {1: 10, 2: 0}
    director.judge({2: True}, service=b"new")
    director.wait()
    assert director.weights == {2: 10}


def test_successor_that_moves_is_still_a_successor():
    director = serving(1)
    replace(director, [1], [2])
    director.wait()
    director.put({key(2): backend(2, tcp=8081)})
    director.wait()
    assert director.weights == {1: 10, 2: 0}


def tenfold():
    """Return ten services with two backends each."""
    return {
        each: value
        for n in range(10)
        for each, value in {
            FrontendKey(b"s%d" % n): Frontend(ipv4=VIP + n, tcp=80),
            BackendKey(b"s%d" % n, b"a"): backend(2 * n),
            BackendKey(b"s%d" % n, b"b"): backend(2 * n + 1),
        }.items()
    }


@pytest.fixture
def large():
    return Director(tenfold(), hold=HELD)


def real_servers(director):
    return sum(map(len, director.pipeline.table.reals.values()))


@pytest.mark.parametrize("kind", [FrontendKey, BackendKey])
def test_removal_of_most_is_held_for_a_while(large, kind, caplog):
    large.put({each: None for each in tenfold() if isinstance(each, kind)})
    large.wait()
    large.wait(59)
    assert real_servers(large) == 20
    assert len(caplog.messages) == 1
    large.wait(1)
    assert real_servers(large) == 0


def test_what_is_put_back_during_a_hold_is_never_removed(large):
    large.put(dict.fromkeys(tenfold()))
    large.wait()
    assert all(item.settings for item in large.put(tenfold()) if hasattr(item, "settings"))
    large.wait(1000)
    assert real_servers(large) == 20


def test_removal_of_one_large_service_is_obeyed():
    many = range(1, 30)
    director = Director(service(*many) | {FrontendKey(b"s"): Frontend(ipv4=VIP, tcp=81)}, hold=HELD)
    director.put({key(n): None for n in many})
    director.wait()
    assert real_servers(director) == 0


@pytest.mark.parametrize(("publishers", "left"), [([b"a", b"a"], 0), ([b"a", b"b"], 20)])
def test_removal_of_all_that_one_node_published_is_obeyed(publishers, left):
    published = {
        each: structs.replace(value, publisher=publishers[each.backend == b"b"].decode())
        if isinstance(each, BackendKey)
        else value
        for each, value in tenfold().items()
    }
    director = Director(published, hold=HELD)
    director.put({each: None for each in published if isinstance(each, BackendKey)})
    director.wait()
    assert real_servers(director) == left


def test_additions_go_on_during_a_hold(large):
    large.put(dict.fromkeys(tenfold()))
    large.wait()
    large.put({F: Frontend(ipv4=VIP, tcp=99), key(99): backend(99)})
    assert real_servers(large) == 21


def test_doubt_holds_the_removal_of_one_backend(large):
    large.hold.doubt("etcd", "another cluster")
    large.put({BackendKey(b"s1", b"a"): None})
    large.wait(1e6)
    assert real_servers(large) == 20
    large.hold.confirm(large.pipeline.now)
    large.hold.doubt("etcd", None)
    large.wait()
    assert real_servers(large) == 19


def found(weights, frontend=WEB):
    ((virtual, settings),) = virtuals(frontend).items()
    reals = {RealServer(backend(n).ipv4, 8080): RealServerSettings(Method.MASQ, w) for n, w in weights.items()}
    return virtual, settings, reals


def test_real_servers_found_at_the_start_stay_until_their_successors_have_weight():
    table = table_of([found({1: 10, 2: 10})])
    director = Director({H: TCP} | service(2, 3), lambda: table)
    director.wait()
    assert director.weights == {1: 10, 2: 10, 3: 0}
    director.judge({3: True})
    director.wait()
    assert director.weights == {2: 10, 3: 10}


def test_all_real_servers_found_at_the_start_stay_while_their_successors_are_unproven():
    table = table_of([found({1: 10, 2: 10, 3: 10, 4: 0, 5: 0})])
    director = Director({H: TCP} | service(4, 5), lambda: table)
    director.wait()
    assert director.weights == {1: 10, 2: 10, 3: 10, 4: 0, 5: 0}
    director.judge({4: True})
    director.wait()
    assert director.weights == {2: 10, 3: 10, 4: 10, 5: 0}


@pytest.mark.parametrize("ours", [True, False])
def test_virtual_server_found_at_the_start_is_kept_only_if_it_is_ours(ours):
    row = found({1: 10})
    director = Director({}, lambda: table_of([row]), ours=[row[0]] if ours else [])
    assert real_servers(director) == (1 if ours else 0)
    director.wait()
    assert real_servers(director) == 0


def test_removals_are_held_at_a_start_on_an_empty_configuration():
    rows = [found({1: 10}, Frontend(ipv4=IPv4Address("198.51.100.0") + n, tcp=80)) for n in range(12)]
    director = Director({}, lambda: table_of(rows), ours=[row[0] for row in rows], hold=HELD)
    director.wait(59)
    assert real_servers(director) == 12
    director.wait(60)
    assert real_servers(director) == 0


def test_removal_by_health_does_not_wait():
    director = serving(1, 2, check=HealthCheck(on_down="remove"))
    director.judge({1: False})
    assert director.weights == {2: 10}


def test_virtual_server_of_others_that_comes_into_the_configuration_keeps_its_weights():
    virtual, settings, reals = found({1: 10, 2: 0, 8: 10, 9: 10})
    reads = []
    director = Director({}, find=lambda wanted: reads.append(wanted) or (settings, reals))
    director.put({H: TCP} | service(1, 2, 3))
    director.wait()
    assert director.weights == {1: 10, 2: 0, 3: 0, 8: 10, 9: 10}
    assert reads == [virtual]
    director.judge({3: True})
    director.wait()
    assert director.weights == {1: 10, 2: 0, 3: 10, 9: 10}
    assert reads == [virtual]


def test_virtual_server_that_exists_is_taken_over_without_checks_too():
    _, settings, reals = found({1: 10, 9: 10})
    director = Director({}, find=lambda _: (settings, reals))
    director.put(service(1))
    assert director.weights == {1: 10, 9: 10}
    director.wait()
    assert director.weights == {1: 10}


@pytest.mark.parametrize("end", ["known", "confirmed"])
def test_what_is_found_and_kept_is_replaced_like_all_that_leaves(end, caplog):
    table = table_of([found({1: 10, 2: 10})])
    director = Director({H: TCP} | service(3), lambda: table, begun=False)
    retention = director.pipeline.retention
    retention.doubt_found("a", "values are invalid", 0.0)
    retention.doubt_found("b", "values are invalid", 0.0)
    retention.doubt_found("a", None, 0.0)
    director.begin(table)
    assert "0 virtual servers and 2 real servers are not configured, and kept" in caplog.text
    assert "b: values are invalid" in caplog.text
    director.judge({3: True})
    director.wait(1e6)
    assert director.weights == {1: 10, 2: 10, 3: 10}
    if end == "known":
        retention.doubt_found("b", None, director.pipeline.now)
    else:
        retention.confirm(director.pipeline.now)
    director.wait()
    assert director.weights == {3: 10}
