import pytest

from clusterf.reconcile.removal_hold import CALM, ENOUGH, LONGEST, Decision, RemovalHold

ALLOWED, WAIT, HELD = Decision.ALLOWED, Decision.WAIT, Decision.HELD
HOLD = 60.0


@pytest.mark.parametrize(
    ("in_force", "leaving", "verdict"),
    [
        (100, 0, ALLOWED),
        (100, 1, ALLOWED),
        (100, 50, ALLOWED),
        (100, 51, HELD),
        (100, 100, HELD),
        (ENOUGH, ENOUGH // 2, ALLOWED),
        (ENOUGH, ENOUGH // 2 + 1, HELD),
        (ENOUGH - 1, ENOUGH - 1, ALLOWED),
    ],
)
def test_more_than_half_of_enough_are_held(in_force, leaving, verdict):
    assert RemovalHold(HOLD).judge(0.0, in_force, leaving) is verdict


def test_without_a_hold_all_may_go():
    guard = RemovalHold(0)
    guard.news(1.0)
    assert guard.judge(1.0, 100, 100) is ALLOWED


def test_what_still_stands_after_the_hold_goes_once():
    guard = RemovalHold(HOLD)
    assert guard.judge(10.0, 20, 20) is HELD
    assert guard.held_until == 10.0 + HOLD
    assert guard.judge(10.0 + HOLD - 0.01, 20, 20) is HELD
    assert guard.judge(10.0 + HOLD, 20, 20) is ALLOWED
    assert guard.judge(10.0 + HOLD, 20, 20) is HELD  # another step, which has a hold of its own


def test_what_is_confirmed_goes_once():
    guard = RemovalHold(HOLD)
    assert guard.judge(0.0, 20, 20) is HELD
    guard.confirm()
    assert guard.judge(0.1, 20, 20) is ALLOWED
    assert guard.judge(0.2, 20, 20) is HELD


def test_to_confirm_when_nothing_is_held_confirms_nothing_to_come():
    guard = RemovalHold(HOLD)
    guard.confirm()
    assert guard.judge(0.0, 20, 20) is HELD


def test_a_hold_ends_when_the_wish_does():
    guard = RemovalHold(HOLD)
    assert guard.judge(0.0, 20, 20) is HELD
    assert guard.judge(30.0, 20, 1) is ALLOWED
    assert guard.held_until is None
    assert guard.judge(HOLD, 20, 20) is HELD
    assert guard.held_until == 2 * HOLD


def test_a_small_step_waits_until_it_is_known_to_be_small():
    guard = RemovalHold(HOLD)
    guard.news(5.0)
    assert guard.judge(5.0, 100, 10) is WAIT
    guard.news(5.0 + CALM / 2)
    assert guard.judge(5.0 + CALM, 100, 40) is WAIT
    assert guard.judge(5.0 + 2 * CALM, 100, 40) is ALLOWED


def test_unending_news_does_not_keep_a_small_step_waiting():
    guard = RemovalHold(HOLD)
    now = 0.0
    while now < LONGEST:
        guard.news(now)
        assert guard.judge(now, 100, 1) is WAIT
        now += CALM / 2
    guard.news(now)
    assert guard.judge(now, 100, 1) is ALLOWED
