import pytest

from clusterf.lib.punctual import LATE, LONGEST, PunctualTimer


@pytest.fixture
def delays():
    return []


@pytest.fixture
def timer(delays):
    return PunctualTimer(delays.append)


def test_earliest_moment_counts(timer, delays):
    timer.set(10.0, 4.0)
    timer.set(11.0, 4.0)
    timer.set(9.0, 4.0)
    timer.set(9.0, 5.0)
    assert delays == [6.0, 5.0]
    assert timer.expired(9.0)
    assert not timer.expired(10.0), "it was set to an earlier moment"
    timer.set(3.0, 10.0)
    assert delays[2:] == [0.0]


def test_moment_that_is_noticed_in_time_is_not_put_off(timer, delays):
    timer.set(10.0, 0.0)
    assert not timer.waits(10.0 + LATE / 2)
    assert timer.expired(10.0 + LATE / 2)
    timer.set(20.0, 0.0)
    assert timer.expired(20.0 - 1e-9)
    assert delays == [10.0, 20.0]


def test_moment_that_is_noticed_late_is_put_off_once(timer, delays):
    timer.set(10.0, 0.0)
    timer.set(9.5, 0.0)
    assert timer.waits(20.0)
    assert not timer.expired(20.0)
    assert not timer.expired(20.0), "the timer that was set first"
    assert delays[2:] == [pytest.approx(LATE + LONGEST)]
    assert timer.waits(20.0)
    assert timer.expired(30.0), "even though that is late, too"
    assert not timer.waits(30.0)
    timer.set(31.0, 30.0)
    assert not timer.expired(31.5), "another one"
    assert delays[4:] == [pytest.approx(LATE + 0.5)]
