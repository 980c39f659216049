import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.supervision.policy import DUMP_TIME, Act, Exits, Policy, Restarts, RunningClock, Vigil
from clusterf.leases.holding import RENEWAL

POLICY = Policy(intensity=2, period=60, stuck_timeout=8, start_timeout=20, first_delay=1, longest_delay=4)


@pytest.fixture
def vigil():
    """A process that has replied once."""
    vigil = Vigil(POLICY)
    assert vigil.act() is Act.PING
    vigil.replied()
    return vigil


def acts(vigil, seconds, step=0.5, starved=0.0):
    """Return what is done in so many seconds."""
    done = []
    for _ in range(int(seconds / step)):
        vigil.spend(step, starved)
        if (act := vigil.act()) is not None:
            done.append(act)
    return done


def test_clock_counts_the_time_between_calls():
    clock = RunningClock(2)
    assert [clock.advance(now) for now in (1000, 1001, 1001.5, 1001.5)] == [0, 1, 0.5, 0]
    assert clock.now == 1.5


def test_clock_counts_a_beat_of_a_pause():
    clock = RunningClock(2)
    assert [clock.advance(now) for now in (0, 1, 601)] == [0, 1, 2]


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_clock_never_goes_back_and_never_counts_more_than_a_beat(times):
    clock = RunningClock(0.5)
    assert all(0 <= clock.advance(now) <= 0.5 for now in times)


def test_policy_within_a_time_leaves_a_fifth_of_it_for_a_start():
    policy = Policy().within(10)
    found = policy.stuck_timeout + policy.dump_time + 1.2 * policy.longest_delay
    renewal = 1.2 * RENEWAL
    assert (policy.stuck_timeout, policy.dump_time, policy.longest_delay) == (2.5, 0.5, 1)
    assert found / 10 + renewal < 0.8
    assert Policy(stuck_timeout=1, longest_delay=0.1).within(10) == Policy(
        stuck_timeout=1, longest_delay=0.1, dump_time=0.5
    )
    assert Policy().within(86400) == Policy()


def test_process_that_replies_is_pinged_four_times_a_timeout(vigil):
    for _ in range(40):
        assert acts(vigil, 1.5) == []
        assert acts(vigil, 0.5) == [Act.PING]
        vigil.replied()


def test_silent_process_is_stuck_after_the_timeout(vigil):
    assert acts(vigil, 7.5) == [Act.PING]
    assert acts(vigil, 0.5) == [Act.DUMP]
    assert vigil.silence == 8


def test_stuck_process_is_killed_after_its_dump_and_again(vigil):
    acts(vigil, 8)
    assert acts(vigil, DUMP_TIME - 0.1, 0.1) == []
    assert acts(vigil, 0.2, 0.1) == [Act.KILL]
    assert acts(vigil, DUMP_TIME + 0.1, 0.1) == [Act.KILL]


def test_process_that_was_not_asked_is_not_stuck(vigil):
    vigil.spend(1000)
    assert vigil.act() is Act.PING


def test_first_reply_may_take_the_start_timeout():
    vigil = Vigil(POLICY)
    assert acts(vigil, 19.5) == [Act.PING]
    assert acts(vigil, 1) == [Act.DUMP]


def test_start_timeout_below_the_stuck_timeout_is_that():
    assert acts(Vigil(POLICY._replace(start_timeout=1)), 7.5) == [Act.PING]


def test_time_in_which_the_process_waited_for_a_cpu_does_not_count(vigil):
    assert acts(vigil, 39, starved=0.4) == [Act.PING, Act.REPORT]
    assert acts(vigil, 2, starved=0.4) == [Act.DUMP]
    assert acts(Vigil(POLICY), 1000, starved=1) == [Act.PING, Act.REPORT]


def test_starved_process_is_reported_once_for_each_silence(vigil):
    assert acts(vigil, 2) == [Act.PING]
    for _ in range(2):
        assert acts(vigil, 5.5, starved=0.5) == []
        assert acts(vigil, 0.5, starved=0.5) == [Act.REPORT]
        assert vigil.starved_silence == 8
        assert acts(vigil, 100, starved=0.5) == []
        vigil.replied()
        vigil.ask()
        assert vigil.act() is Act.PING
        acts(vigil, 2)


def test_remaining_is_the_time_until_the_next_act(vigil):
    for expected in (Act.PING, Act.DUMP, Act.KILL, Act.KILL):
        assert vigil.remaining > 0
        vigil.spend(vigil.remaining)
        assert vigil.act() is expected


def test_ask_pings_at_once_unless_a_ping_is_unanswered(vigil):
    vigil.ask()
    assert vigil.remaining == 0
    assert vigil.act() is Act.PING
    vigil.ask()
    assert vigil.act() is None


def test_delays_between_restarts_grow_until_it_has_run_for_a_period():
    restarts = Restarts(POLICY)
    for nominal in (1, 2, 4, 4):
        restarts.started(100)
        restarts.ended(160)
        assert nominal * 0.8 <= restarts.delay() <= nominal * 1.2
    assert restarts.ends == 4
    restarts.started(100)
    assert not restarts.has_recovered(160)
    assert restarts.has_recovered(160.1)
    restarts.ended(160.1)
    assert restarts.delay() <= 1.2
    assert restarts.ends == 1


def test_delays_between_attempts_to_start_stay_the_longest_however_long_that_takes():
    restarts = Restarts(POLICY)
    for _ in range(5):
        delay = restarts.delay()
    assert delay >= 3.2
    restarts.ended(1000)
    assert restarts.delay() <= 1.2


def test_node_gives_up_after_more_ends_than_its_intensity_within_a_period():
    exits = Exits(POLICY)
    assert [exits.add(now) for now in (0, 30, 60, 61)] == [False, False, True, True]
    assert len(exits) == 3
    assert exits.add(200) is False
    assert len(exits) == 1


def test_beat_is_a_small_part_of_the_timeout():
    assert POLICY.beat == 0.5


def test_patience_is_that_of_the_documentation_unless_it_is_set():
    policy = Policy()
    assert (policy.intensity, policy.period) == (10, 60.0)
    assert (policy.start_timeout, policy.stuck_timeout, policy.stop_timeout) == (30.0, 30.0, 15.0)
    assert (policy.first_delay, policy.longest_delay) == (0.1, 5.0)


def test_supervisor_may_sleep_until_the_next_ping_is_due_or_the_child_is_stuck_or_killed():
    vigil = Vigil(Policy(stuck_timeout=20.0, start_timeout=20.0))
    assert vigil.remaining == 0.0
    assert vigil.act() is Act.PING
    vigil.spend(15.0)
    assert vigil.remaining == 5.0
    vigil.spend(5.0)
    assert vigil.act() is Act.DUMP
    vigil.spend(0.25)
    assert vigil.remaining == 0.75
