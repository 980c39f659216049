from ipaddress import ip_address

import pytest

from clusterf.director.lapses import Lapses
from clusterf.ipvs.table import RealServer
from tests.clusterf.support.reconciling import DNS, WEB

REAL, OTHER = (RealServer(ip_address(f"10.0.0.{number}"), 80) for number in (1, 2))
ONE, TWO = (b"web", b"1", WEB), (b"web", b"2", DNS)


def test_time_runs_from_the_first_question():
    lapses = Lapses()
    assert lapses.first is None
    assert lapses.waits(ONE, 10.0, 5.0)
    assert lapses.waits(ONE, 99.0, 14.9)
    assert lapses.first == 15.0
    assert not lapses.waits(ONE, 99.0, 15.0)


def test_those_that_are_due_come_in_the_order_of_their_time():
    lapses = Lapses()
    lapses.waits(ONE, 20.0, 0.0)
    lapses.waits(TWO, 10.0, 0.0)
    assert list(lapses.due(9.9)) == []
    assert list(lapses.due(10.0)) == [TWO]
    assert list(lapses.due(30.0)) == [ONE]
    assert lapses.first is None


def test_member_that_is_discarded_is_not_due_and_may_wait_anew():
    lapses = Lapses()
    lapses.waits(ONE, 10.0, 0.0)
    for _ in range(2):
        lapses.discard(ONE)
    assert lapses.first is None
    assert lapses.waits(ONE, 10.0, 50.0)
    assert lapses.first == 60.0
    assert list(lapses.due(60.0)) == [ONE]


def test_time_of_a_member_that_moves_goes_on():
    lapses = Lapses()
    lapses.waits(ONE, 10.0, 0.0)
    lapses.move(ONE, TWO)
    lapses.discard(ONE)
    assert lapses.waits(TWO, 99.0, 9.9)
    assert not lapses.waits(TWO, 99.0, 10.0)
    lapses.move(ONE, ONE)
    assert lapses.waits(ONE, 1.0, 50.0), "nothing of it was left"


def test_nothing_is_due_after_the_last_moment_that_is_known():
    lapses = Lapses()
    lapses.begin(ONE, 5.0)
    lapses.known = 4.9
    assert list(lapses.due(9.0)) == []
    assert lapses.waits(ONE, 1.0, 9.0)
    lapses.known = 5.0
    assert lapses.first == 5.0
    assert not lapses.waits(ONE, 1.0, 9.0)
    assert list(lapses.due(9.0)) == [ONE]


def test_member_that_is_back_in_time_stays_out_for_the_rest_of_it():
    lapses = Lapses()
    lapses.leave(ONE, REAL, 10.0)
    lapses.stamp(5.0)
    assert (lapses.has_left(ONE), lapses.has_left(TWO), lapses.first) == (True, False, 15.0)
    assert lapses.is_back(ONE, REAL)
    assert not lapses.is_back(ONE, REAL)
    assert lapses.waits(ONE, 0.0, 14.9)
    assert not lapses.waits(ONE, 0.0, 15.0)


def test_member_that_is_back_at_once_stays_out_for_the_whole_time():
    lapses = Lapses()
    lapses.leave(ONE, REAL, 10.0)
    assert lapses.is_back(ONE, REAL)
    lapses.stamp(5.0)
    assert lapses.waits(ONE, 0.0, 14.9)
    assert not lapses.waits(ONE, 0.0, 15.0)


@pytest.mark.parametrize("stamped", [True, False])
def test_member_that_is_back_as_another_real_server_is_new(stamped):
    lapses = Lapses()
    lapses.leave(ONE, REAL, 10.0)
    if stamped:
        lapses.stamp(5.0)
    assert not lapses.is_back(ONE, OTHER)
    assert not lapses.has_left(ONE)
    assert lapses.first is None


def test_member_of_which_the_real_server_is_not_known_may_be_back_as_any():
    lapses = Lapses()
    lapses.remember(ONE, None, 15.0)
    assert lapses.is_back(ONE, OTHER)
    assert lapses.first == 15.0


def test_member_that_leaves_is_forgotten_when_its_time_is_over():
    lapses = Lapses()
    lapses.begin(ONE, 15.0)
    lapses.leave(ONE, REAL, 99.0)
    lapses.leave(TWO, REAL, 0.0)
    assert lapses.all == {ONE: 15.0}
    assert list(lapses.due(14.9)) == []
    assert set(lapses.due(15.0)) == {ONE}
    assert (lapses.has_left(ONE), lapses.first, lapses.all) == (False, None, {})
