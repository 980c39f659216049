import pytest

from actors.supervision.policy import DUMP_TIME, Policy
from clusterf.director.readiness import Readiness, longest_silence


def test_all_links_and_the_configuration_are_awaited():
    readiness = Readiness(["health0", "health1"], patient=False)
    assert not readiness.is_ready(0)
    readiness.judged("health0")
    readiness.configured()
    assert not readiness.is_ready(0)
    readiness.judged("health1")
    assert readiness.is_ready(0)
    assert readiness.is_ready(1), "nobody waits for verdicts that are not there"


def test_verdicts_are_awaited_until_patience_is_over():
    readiness = Readiness([], patient=True)
    readiness.configured()
    assert not readiness.is_ready(1)
    assert readiness.is_ready(0)
    readiness.lose_patience()
    assert readiness.is_ready(1)


def test_silent_links_are_awaited_until_they_are_waived():
    readiness = Readiness(["health2", "health1", "health3"], patient=False)
    assert readiness.configured()
    assert not readiness.configured()
    assert not readiness.judged("health3")
    assert readiness.silent == ["health1", "health2"]
    readiness.waive()
    assert readiness.silent == []
    assert readiness.is_ready(7)
    assert readiness.judged("health1"), "it is late"
    assert not readiness.judged("health1")
    assert not readiness.judged("health3")


def test_configuration_is_awaited_though_all_links_are_waived():
    readiness = Readiness(["health"], patient=False)
    readiness.waive()
    assert not readiness.is_ready(0)


def test_configuration_is_awaited_though_patience_is_over():
    readiness = Readiness([], patient=True)
    readiness.lose_patience()
    assert not readiness.is_ready(0)
    readiness.configured()
    assert readiness.is_ready(7)


@pytest.mark.parametrize("stuck_timeout", [2, 30, 120])
def test_health_process_that_was_stuck_at_its_start_is_awaited_until_the_next_has_had_its_time(stuck_timeout):
    policy = Policy(stuck_timeout=stuck_timeout)
    start = max(policy.start_timeout, stuck_timeout)
    assert start + DUMP_TIME + 1.2 * policy.first_delay + start < longest_silence(stuck_timeout)
    assert longest_silence(stuck_timeout) <= 2 * start + policy.longest_delay
