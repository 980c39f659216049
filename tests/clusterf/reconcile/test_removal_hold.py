import pytest

from clusterf.reconcile.removal_hold import CALM, ENOUGH, LONGEST, Decision, RemovalHold

ALLOWED, WAIT, HELD = Decision.ALLOWED, Decision.WAIT, Decision.HELD
SECONDS = 60.0


@pytest.fixture
def hold():
    return RemovalHold(SECONDS)


@pytest.mark.parametrize(
    ("in_force", "leaving", "decision"),
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
def test_removals_of_more_than_half_of_enough_are_held(hold, in_force, leaving, decision):
    assert hold.judge(0.0, in_force, leaving) is decision


def test_removals_are_allowed_without_a_hold():
    hold = RemovalHold(0)
    hold.changed(1.0)
    assert hold.judge(1.0, 100, 100) is ALLOWED


def test_removals_are_allowed_once_after_the_hold(hold):
    assert hold.judge(10.0, 20, 20) is HELD
    assert hold.remaining(10.0) == SECONDS
    assert hold.judge(10.0 + SECONDS - 0.01, 20, 20) is HELD
    assert hold.judge(10.0 + SECONDS, 20, 20) is ALLOWED
    assert hold.judge(10.0 + SECONDS, 20, 20) is HELD  # others, which have a hold of their own


def test_confirmed_removals_are_allowed_once(hold):
    assert hold.judge(0.0, 20, 20) is HELD
    hold.confirm()
    assert hold.judge(0.1, 20, 20) is ALLOWED
    assert hold.judge(0.2, 20, 20) is HELD


def test_confirming_while_nothing_is_held_does_not_confirm_later_removals(hold):
    hold.confirm()
    assert hold.judge(0.0, 20, 20) is HELD


def test_confirming_removals_that_are_withdrawn_does_not_confirm_later_ones(hold):
    assert hold.judge(0.0, 20, 20) is HELD
    hold.confirm()
    assert hold.judge(0.1, 20, 0) is ALLOWED
    assert hold.judge(0.2, 20, 20) is HELD


def test_hold_ends_when_the_removals_are_withdrawn(hold):
    assert hold.judge(0.0, 20, 20) is HELD
    assert hold.judge(30.0, 20, 1) is ALLOWED
    assert hold.remaining(30.0) == 0.0
    assert hold.judge(SECONDS, 20, 20) is HELD
    assert hold.remaining(SECONDS) == SECONDS


def test_few_removals_wait_until_the_configuration_is_calm(hold):
    hold.changed(5.0)
    assert hold.judge(5.0, 100, 10) is WAIT
    hold.changed(5.0 + CALM / 2)
    assert hold.judge(5.0 + CALM, 100, 40) is WAIT
    assert hold.judge(5.0 + 2 * CALM, 100, 40) is ALLOWED


def test_few_removals_wait_no_longer_than_the_limit_for_a_configuration_that_is_never_calm(hold):
    now = 0.0
    while now < LONGEST:
        hold.changed(now)
        assert hold.judge(now, 100, 1) is WAIT
        now += CALM / 2
    hold.changed(now)
    assert hold.judge(now, 100, 1) is ALLOWED


@pytest.mark.parametrize("end", [{"now": SECONDS, "leaving": 15}, {"now": 1.0, "leaving": 0}])
def test_hold_is_logged_when_it_begins_and_when_it_ends(hold, caplog, end):
    for now in (0.0, 0.5):
        hold.judge(now, 20, 15)
    assert caplog.messages == [
        "ipvs: 15 of 20 virtual servers would be removed at once: held for 60 seconds, or until clusterf config confirm"
    ]
    caplog.clear()
    hold.judge(end["now"], 20, end["leaving"])
    hold.judge(end["now"], 20, 0)
    assert caplog.messages == ["ipvs: the removal of virtual servers is no longer held"]
