"""A check that goes raises the weight of no backend that is down, for as long as it might take to be back."""

from ipaddress import IPv4Address, ip_network

import pytest

from clusterf.config.model import BackendCheck, BackendKey, FrontendKey, HealthKey, Route, RouteKey
from tests.clusterf.support.director import (
    INITIALLY_UP,
    REMOVES,
    TCP,
    UNCHECKED,
    WEB,
    Director,
    F,
    H,
    backend,
    key,
    service,
)
from tests.clusterf.support.left_behind import left_behind

LAPSE = TCP.interval * TCP.fall


def failing(check=TCP):
    director = Director({H: check} | service(1, 2))
    director.judge({1: False, 2: True})
    return director


@pytest.mark.parametrize("gone", [{H: None}, {H: UNCHECKED}])
def test_backend_that_is_down_when_its_check_goes_stays_out_for_a_while(gone):
    director = failing()
    director.put(gone)
    director.judge({1: None, 2: None})
    assert director.weights == {1: 0, 2: 10}
    assert director.rotation.due == LAPSE
    director.pass_time(LAPSE - 1)
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(1)
    assert director.weights == {1: 10, 2: 10}
    assert director.rotation.due is None


def test_check_that_is_back_in_time_changes_nothing():
    director = failing()
    director.put({H: None})
    director.judge({1: None, 2: None})
    director.pass_time(LAPSE / 2)
    director.put({H: TCP})
    director.pass_time(LAPSE)
    assert director.weights == {1: 0, 2: 10}
    director.judge({1: True})
    assert director.weights == {1: 10, 2: 10}


def test_each_time_that_a_check_goes_backends_stay_out_for_the_whole_while():
    director = failing()
    director.put({H: None})
    director.pass_time(LAPSE / 2)
    director.put({H: TCP})
    director.judge({1: None, 2: None})
    assert director.rotation.due is None
    director.put({H: None})
    director.pass_time(LAPSE - 1)
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(1)
    assert director.weights == {1: 10, 2: 10}


def test_default_check_takes_over_from_a_check_that_goes():
    director = failing()
    director.put({HealthKey(None): TCP})
    director.put({H: None})
    director.pass_time(2 * LAPSE)
    assert director.weights == {1: 0, 2: 10}


def test_backend_that_moves_without_a_check_stays_out_for_as_long():
    director = failing()
    director.put({H: None})
    director.put({RouteKey(b"r"): Route(ip_network("10.0.0.1/32"), gateway4=IPv4Address("10.9.9.9"), method="masq")})
    director.pass_time(LAPSE - 1)
    assert director.weights == {1: 0, 9: 0, 2: 10} or director.weights == {9: 0, 2: 10}
    director.pass_time(1)
    director.wait()
    assert director.weights == {9: 10, 2: 10}


def named(name, *numbers, **more):
    return {FrontendKey(name): WEB, **more} | {BackendKey(name, b"%d" % n): backend(n) for n in numbers}


@pytest.mark.parametrize("check", [TCP, REMOVES])
@pytest.mark.parametrize("at_once", [True, False])
def test_backend_that_is_down_stays_out_for_a_while_under_another_service_without_a_check(check, at_once):
    director = failing(check)
    before = director.weights
    old, new = dict.fromkeys([F, H, key(1), key(2)]), named(b"app", 1, 2)
    if at_once:
        director.put(old | new)
    else:
        director.put(new)
        director.put(old)
    director.judge({1: None, 2: None})
    assert director.weights == {1: 0, 2: 10}
    assert before.get(1, 0) == 0
    director.pass_time(LAPSE - 1)
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(1)
    assert director.weights == {1: 10, 2: 10}


def test_backend_stays_out_for_a_while_more_under_a_third_name():
    director = failing()
    director.put(dict.fromkeys([F, H, key(1), key(2)]) | named(b"app", 1, 2))
    director.pass_time(LAPSE - 1)
    director.put(dict.fromkeys(named(b"app", 1, 2)) | named(b"third", 1, 2))
    director.pass_time(1)
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(LAPSE)
    assert director.weights == {1: 10, 2: 10}


def test_backend_that_is_down_stays_out_for_a_while_under_another_name_without_a_check():
    director = failing()
    director.put({key(1): None, key(3): backend(1), H: None})
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(LAPSE)
    assert director.weights == {1: 10, 2: 10}


def test_of_several_backends_at_a_gateway_so_many_stay_out_as_were_down():
    director = Director(
        {H: TCP, RouteKey(b"r"): Route(ip_network("10.0.0.0/24"), gateway4=IPv4Address("10.9.9.9"), method="masq")}
        | service(1, 2, 3)
    )
    director.judge({1: False, 2: True, 3: True})
    director.put(dict.fromkeys([F, H, key(1), key(2), key(3)]) | named(b"app", 1, 2, 3))
    assert director.weights == {9: 20}
    director.pass_time(LAPSE)
    assert director.weights == {9: 30}


def test_backend_that_was_drained_counts_at_once_under_another_name_without_a_check():
    director = Director(service(2) | {key(1): backend(1, weight=0)})
    director.put(dict.fromkeys([F, key(1), key(2)]) | named(b"app", 1, 2))
    assert director.weights == {1: 10, 2: 10}


@pytest.mark.parametrize(("configured", "weight"), [({}, 0), ({H: TCP}, 10), ({key(1): None}, None)])
def test_backend_that_stayed_out_when_the_director_ended_stays_out_until_its_time(configured, weight):
    director = Director(service(1, 2) | configured, begun=False)
    ((virtual, _),) = director.pipeline.table.reals.items()
    director.judge({1: True, 2: True})
    director.rotation.begin()
    lapses = {(b"web", b"1", virtual): 7.0, (b"gone", b"1", virtual): 7.0}
    director.pipeline.merger.resume(lapses)
    director.pass_time(0)
    assert director.weights.get(1) == weight
    assert director.weights[2] == 10
    director.pass_time(7.0)
    assert director.weights.get(1) == (None if weight is None else 10)
    assert director.rotation.lapsing == {}


def test_new_backend_without_a_check_is_in_rotation_at_once():
    director = failing()
    director.put({H: None})
    director.put({key(3): backend(3)})
    assert director.weights == {1: 0, 2: 10, 3: 10}


def test_backend_that_health_had_removed_is_back_without_weight():
    director = failing(REMOVES)
    assert director.weights == {2: 10}
    director.put({H: None})
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(LAPSE)
    assert director.weights == {1: 10, 2: 10}


def test_nothing_is_kept_of_backends_that_are_deleted_while_their_check_is_gone():
    director = failing()
    director.put({H: None})
    director.judge({1: None, 2: None})
    director.put(dict.fromkeys([F, key(1), key(2)]))
    director.pass_time(LAPSE)
    assert director.rotation.due is None
    director.rotation.standing()
    assert left_behind(director.rotation) == {}


def label(check):
    return BackendCheck(check, "label")


OWN = {key(1): backend(1, health=label(INITIALLY_UP))} | service(2)


@pytest.mark.parametrize("health", [label(INITIALLY_UP), label(TCP), None])
def test_backend_that_goes_with_its_check_and_is_back_in_time_is_out_as_before(health):
    director = Director(OWN)
    director.judge({1: False})
    director.put({key(1): None})
    director.judge({1: None})
    director.wait()
    assert director.weights == {2: 10}
    director.pass_time(LAPSE - 1)
    director.put({key(1): backend(1, health=health)})
    assert director.weights == {1: 0, 2: 10}
    if health is not None:
        director.pass_time(LAPSE)
        assert director.weights == {1: 0, 2: 10}
        director.judge({1: True})
    else:
        director.pass_time(1)
    assert director.weights == {1: 10, 2: 10}
    assert director.rotation.due is None


def test_backend_that_was_in_rotation_or_is_back_late_or_elsewhere_is_new():
    for was, seconds, now in ((True, 0, 1), (False, LAPSE, 1), (False, 0, 9)):
        director = Director(OWN)
        director.judge({1: was})
        director.put({key(1): None})
        director.judge({1: None})
        director.wait()
        director.pass_time(seconds)
        director.put({key(1): backend(now, health=label(INITIALLY_UP))})
        assert director.weights == {now: 10, 2: 10}


def test_service_that_goes_with_its_check_and_is_back_without_it_has_its_backends_out_as_before():
    director = failing()
    director.pass_time(1000)
    director.put(dict.fromkeys([F, H]))
    director.wait()
    director.put({F: WEB})
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(LAPSE)
    assert director.weights == {1: 10, 2: 10}


def test_backend_that_goes_while_it_stays_out_is_out_for_the_rest_of_the_time():
    director = failing()
    director.put({H: None})
    director.pass_time(LAPSE - 2)
    director.put({key(1): None})
    director.wait()
    director.pass_time(1)
    director.put({key(1): backend(1)})
    assert director.weights == {1: 0, 2: 10}
    director.pass_time(1)
    assert director.weights == {1: 10, 2: 10}


def test_backend_is_out_in_the_next_director_though_its_check_went_between_them():
    director = failing()
    standing = {m: seconds for m, seconds in director.rotation.standing().items() if seconds is not None}
    assert set(standing.values()) == {-LAPSE}
    assert director.rotation.standing() == {}
    for there in (service(1, 2), service(2)):
        after = Director(there, begun=False)
        after.rotation.begin()
        after.pipeline.now = 500.0
        after.pipeline.merger.resume(standing, 500.0)
        assert after.rotation.standing().keys() >= standing.keys()
        after.pass_time(1)
        after.put(service(1, 2))
        assert after.weights == {1: 0, 2: 10}
        after.pass_time(LAPSE)
        assert after.weights == {1: 10, 2: 10}


def test_standing_tells_what_is_out_and_for_how_long():
    director = failing()
    ((virtual, _),) = director.pipeline.table.reals.items()
    one, two = (b"web", b"1", virtual), (b"web", b"2", virtual)
    standing = {}

    def changed():
        standing.update(director.rotation.standing())
        return {member: seconds for member, seconds in standing.items() if seconds is not None}

    assert changed() == {one: -LAPSE}
    director.judge({2: False})
    assert changed() == {one: -LAPSE, two: -LAPSE}
    director.judge({1: True})
    director.put({H: None})
    assert changed() == {two: LAPSE}
    director.put({key(2): None})
    assert changed() == {two: LAPSE}
    director.pass_time(LAPSE)
    assert changed() == {}


@pytest.mark.parametrize("back", [False, True])
def test_new_backends_that_count_from_the_beginning_are_not_proven_by_a_check_that_is_gone_for_a_moment(back):
    director = Director({H: INITIALLY_UP} | service(1, 2))
    director.judge({1: True, 2: True})
    director.put({key(1): None, key(2): None, key(3): backend(3), key(4): backend(4)})
    director.wait()
    director.put({H: None})
    director.wait()
    assert director.weights == dict.fromkeys([1, 2, 3, 4], 10)
    director.pass_time(LAPSE - 1)
    if back:
        director.put({H: INITIALLY_UP})
        director.wait()
        director.pass_time(2)
    else:
        director.wait(0)
        assert director.weights == dict.fromkeys([1, 2, 3, 4], 10)
        director.pass_time(1)
    director.wait(0)
    assert director.weights == dict.fromkeys([1, 2, 3, 4] if back else [3, 4], 10)
    director.judge({3: True, 4: True})
    director.wait()
    assert director.weights == {3: 10, 4: 10}


def test_check_that_is_back_after_its_time_leaves_a_new_backend_proven():
    director = Director({H: INITIALLY_UP} | service(1))
    director.put({key(2): backend(2)})
    ((virtual, _),) = director.pipeline.table.reals.items()
    director.put({H: None})
    assert director.rotation.proving(virtual, b"web", director.pipeline.now).until == LAPSE
    director.pass_time(LAPSE)
    director.put({H: INITIALLY_UP})
    assert director.rotation.proving(virtual, b"web", director.pipeline.now).unproven == 0
