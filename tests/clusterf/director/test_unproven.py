import pytest

from clusterf.director.unproven import Proving, Unproven
from tests.clusterf.support.reconciling import DNS, WEB

SECONDS = 20.0


@pytest.fixture
def unproven():
    return Unproven()


def proving(unproven, now, undecided=(), virtual=WEB):
    return unproven.proving(virtual, b"web", now, lambda backend, since: since + SECONDS + (backend in undecided))


def test_nobody_is_unproven_at_first(unproven):
    assert proving(unproven, 0.0) == Proving(0, None)
    assert not unproven.has(WEB, b"web", b"1")


def test_time_of_a_backend_runs_from_the_first_stamp(unproven):
    unproven.add(WEB, b"web", b"1")
    assert proving(unproven, 5.0) == Proving(1, 5.0 + SECONDS)
    unproven.stamp(WEB, b"web", b"1", 5.0)
    unproven.stamp(WEB, b"web", b"1", 6.0)
    assert proving(unproven, 6.0) == Proving(1, 5.0 + SECONDS)
    assert proving(unproven, 5.0 + SECONDS - 0.1).until == 5.0 + SECONDS
    assert proving(unproven, 5.0 + SECONDS) == Proving(1, None)


def test_each_backend_may_have_more_time(unproven):
    for number in (b"1", b"2"):
        unproven.add(WEB, b"web", number)
        unproven.stamp(WEB, b"web", number, 0.0)
    assert proving(unproven, 1.0, undecided=[b"1"]) == Proving(2, SECONDS + 1)


def test_last_one_decides_until_when(unproven):
    for number, at in ((b"1", 0.0), (b"2", 7.0)):
        unproven.add(WEB, b"web", number)
        unproven.stamp(WEB, b"web", number, at)
    assert proving(unproven, 8.0) == Proving(2, 7.0 + SECONDS)
    unproven.discard(WEB, b"web", b"2")
    assert proving(unproven, 8.0) == Proving(1, SECONDS)


def test_virtual_servers_and_services_are_apart(unproven):
    unproven.add(WEB, b"web", b"1")
    assert unproven.has(WEB, b"web", b"1")
    assert not unproven.has(DNS, b"web", b"1")
    assert not unproven.has(WEB, b"other", b"1")
    assert proving(unproven, 0.0, virtual=DNS) == Proving()
    for _ in range(2):
        unproven.discard(WEB, b"web", b"1")
    assert proving(unproven, 0.0) == Proving()
    unproven.stamp(WEB, b"web", b"1", 0.0)
    assert not unproven.has(WEB, b"web", b"1")


def test_member_whose_check_has_gone_is_proven_after_a_while_unless_the_check_is_back(unproven):
    for number in (b"1", b"2"):
        unproven.add(WEB, b"web", number)
        unproven.stamp(WEB, b"web", number, 0.0)
        unproven.uncheck(WEB, b"web", number, 7.0)
        unproven.uncheck(WEB, b"web", number, 9.0)
    unproven.uncheck(WEB, b"web", b"3", 7.0)
    assert not unproven.is_unchecked(WEB, b"web", b"3"), "it is not unproven"
    assert proving(unproven, 6.0) == Proving(2, 7.0)
    unproven.check(WEB, b"web", b"2", 6.0)
    assert proving(unproven, 7.0) == Proving(1, SECONDS)
    unproven.uncheck(WEB, b"web", b"2", 8.0)
    unproven.check(WEB, b"web", b"2", 8.0)
    assert proving(unproven, 8.0) == Proving()
