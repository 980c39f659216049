from math import inf

import pytest

from clusterf.director.removal_hold import CALM, FOLLOWS, LONGEST, SILENT, Decision, HoldPolicy, Removal, RemovalHold

ALLOWED, OVERDUE, WAIT, HELD = Decision.ALLOWED, Decision.OVERDUE, Decision.WAIT, Decision.HELD
SECONDS = 60.0
LARGE, SMALL = Removal(virtuals=20, virtuals_leaving=15), Removal(virtuals=20, virtuals_leaving=1)


@pytest.fixture
def hold():
    return RemovalHold(HoldPolicy(SECONDS))


def test_configuration_is_calm_after_a_tenth_of_a_second_and_complete_after_two():
    assert (CALM, LONGEST) == (0.1, 2.0)


def test_nothing_in_force_is_no_large_removal():
    assert Removal() == Removal(0, 0, 0, 0, 0, 0, False)
    assert Removal().size(HoldPolicy()) is None


def test_hold_takes_a_minute_unless_it_is_set():
    assert HoldPolicy() == HoldPolicy(60.0, 50.0, 10)


@pytest.mark.parametrize(
    ("in_force", "leaving", "decision"),
    [(100, 1, ALLOWED), (100, 50, ALLOWED), (100, 51, HELD), (10, 5, ALLOWED), (10, 6, HELD), (9, 9, ALLOWED)],
)
def test_removals_of_more_than_half_of_enough_are_held(hold, in_force, leaving, decision):
    assert hold.judge(0.0, Removal(virtuals=in_force, virtuals_leaving=leaving)) is decision


@pytest.mark.parametrize(
    ("reals", "weights", "decision"),
    [
        ((10, 4), (100, 51), HELD),
        ((10, 9), (100, 50), ALLOWED),
        ((9, 9), (90, 90), ALLOWED),
        ((10, 0), (0, 0), ALLOWED),
    ],
)
def test_removals_of_more_than_half_of_the_weight_are_held(hold, reals, weights, decision):
    assert hold.judge(0.0, Removal(1, 0, *reals, *weights)) is decision


def test_share_and_least_number_are_settings():
    hold = RemovalHold(HoldPolicy(SECONDS, share=80.0, least=3))
    assert hold.judge(0.0, Removal(0, 0, 3, 2, 100, 80)) is ALLOWED
    assert hold.judge(0.0, Removal(0, 0, 3, 2, 100, 81)) is HELD


def test_removal_with_one_cause_is_not_held(hold):
    assert hold.judge(0.0, LARGE._replace(one_cause=True)) is ALLOWED


def test_large_removals_are_allowed_without_a_hold():
    assert RemovalHold(HoldPolicy(0)).judge(1.0, LARGE) is ALLOWED


def test_removals_are_allowed_once_after_the_hold(hold):
    assert hold.judge(10.0, LARGE) is HELD
    assert hold.due(10.0) == SECONDS
    assert hold.judge(10.0 + SECONDS - 0.01, LARGE) is HELD
    assert hold.judge(10.0 + SECONDS, LARGE) is ALLOWED
    assert hold.judge(10.0 + SECONDS, LARGE) is HELD  # others, which have a hold of their own


def test_hold_goes_on_after_a_restart_for_what_is_left_of_it(hold, caplog):
    assert hold.until is None
    hold.resume(10.0, 30.0)
    assert hold.until == 30.0
    assert "held for 20 more seconds" in caplog.text
    assert hold.judge(29.9, SMALL) is HELD
    assert hold.judge(30.0, SMALL) is HELD, "nobody has read the sources yet"
    hold.alive(30.5, 30.0)
    assert hold.judge(30.5, SMALL) is ALLOWED
    assert hold.until is None


def test_hold_that_is_over_does_not_go_on_after_a_restart(hold, caplog):
    hold.resume(30.0, 30.0)
    assert hold.until is None
    assert not caplog.text
    assert hold.judge(30.0, SMALL) is ALLOWED


@pytest.mark.parametrize(("seconds", "until"), [(0.0, None), (5.0, 15.0), (SECONDS, 30.0)])
def test_hold_goes_on_after_a_restart_no_longer_than_the_new_setting(seconds, until):
    hold = RemovalHold(HoldPolicy(seconds))
    hold.resume(10.0, 30.0)
    assert hold.until == until


def test_hold_for_a_doubt_ends_with_the_doubt_only(hold):
    hold.doubt("etcd", "another cluster")
    hold.judge(0.0, SMALL)
    assert hold.until is None


def test_confirmed_removals_are_allowed_once(hold):
    assert hold.judge(0.0, LARGE) is HELD
    hold.confirm(0.0)
    assert hold.judge(0.1, LARGE) is ALLOWED
    assert hold.judge(0.2, LARGE) is HELD


def test_confirming_while_nothing_is_held_does_not_confirm_later_removals(hold):
    hold.confirm(0.0)
    assert hold.judge(0.0, LARGE) is HELD


def test_confirming_removals_that_are_withdrawn_does_not_confirm_later_ones(hold):
    assert hold.judge(0.0, LARGE) is HELD
    hold.confirm(0.0)
    hold.end()
    assert hold.judge(0.2, LARGE) is HELD


def test_hold_does_not_end_when_most_of_the_removal_is_withdrawn(hold):
    assert hold.judge(0.0, LARGE) is HELD
    assert hold.judge(30.0, SMALL) is HELD
    assert hold.due(30.0) == SECONDS - 30.0
    assert hold.judge(SECONDS, SMALL) is ALLOWED


def test_hold_ends_when_all_of_the_removal_is_withdrawn(hold):
    assert hold.judge(0.0, LARGE) is HELD
    hold.end()
    assert hold.judge(30.0, SMALL) is ALLOWED


def test_small_removals_wait_until_the_configuration_is_calm(hold):
    hold.changed(5.0)
    assert hold.judge(5.0, SMALL) is WAIT
    assert hold.due(5.0) == CALM
    hold.changed(5.0 + CALM / 2)
    assert hold.judge(5.0 + CALM, SMALL) is WAIT
    assert hold.judge(5.0 + 2 * CALM, SMALL) is ALLOWED


def test_small_removals_wait_no_longer_than_the_limit_for_a_configuration_that_is_never_calm(hold):
    now = 0.0
    while now < LONGEST:
        hold.changed(now)
        assert hold.judge(now, SMALL) is WAIT
        now += CALM / 2
    hold.changed(now)
    assert hold.judge(now, SMALL) is OVERDUE
    hold.changed(now + CALM / 2)
    assert hold.judge(now + CALM / 2, SMALL) is WAIT, "what comes next has to wait, too"


def test_small_removals_wait_while_a_change_of_a_source_is_under_way_but_not_for_ever(hold):
    hold.changed(5.0)
    hold.doubt("tree", "files are being written", passing=True)
    assert hold.judge(5.0 + 3 * CALM, SMALL) is WAIT
    hold.doubt("tree", None, passing=True)
    assert hold.judge(5.0 + 3 * CALM, SMALL) is ALLOWED
    hold.doubt("tree", "files are being written", passing=True)
    now = 10.0
    while now < 10.0 + LONGEST:
        hold.changed(now)
        assert hold.judge(now, SMALL) is WAIT
        now += 2 * CALM
    hold.changed(now)
    assert hold.judge(now, SMALL) is OVERDUE


def test_confirmed_removal_that_is_overdue_is_judged_at_once(hold):
    hold.doubt("etcd", "another cluster")
    hold.judge(0.0, SMALL)
    hold.confirm(10.0)
    assert hold.due(10.0 + LONGEST - 0.5) == pytest.approx(0.5)
    assert hold.due(10.0 + LONGEST + 5.0) == 0.0


def test_nothing_is_removed_while_the_configuration_is_not_known_as_a_whole(hold):
    assert hold.judge(0.0, LARGE) is HELD
    hold.complete(False)
    hold.confirm(0.0)
    assert hold.judge(SECONDS, LARGE) is WAIT
    assert hold.due(SECONDS) == inf
    hold.complete(True)
    assert hold.due(SECONDS) == 0.0
    assert hold.judge(SECONDS, LARGE) is ALLOWED


def test_source_that_never_was_in_doubt_may_say_so(hold):
    hold.doubt("tree", None)
    assert hold.judge(0.0, LARGE) is HELD


def test_small_removal_after_a_doubt_is_withdrawn_ends_the_hold(hold):
    hold.doubt("etcd", "another cluster")
    hold.judge(0.0, SMALL)
    hold.doubt("etcd", None)
    assert hold.judge(1.0, SMALL) is ALLOWED
    assert hold.due(1.0) == CALM, "nothing is held any more"


def test_small_removal_waits_for_exactly_the_limit(hold):
    hold.changed(0.0)
    assert hold.judge(0.0, SMALL) is WAIT
    hold.changed(LONGEST)
    assert hold.judge(LONGEST, SMALL) is OVERDUE


def test_wait_that_ended_as_nothing_was_to_be_removed_begins_anew(hold):
    hold.changed(0.0)
    assert hold.judge(0.0, SMALL) is WAIT
    hold.end()
    hold.changed(LONGEST)
    assert hold.judge(LONGEST, SMALL) is WAIT


def test_passing_doubt_does_not_withdraw_another(hold):
    hold.doubt("etcd", "another cluster")
    hold.doubt("etcd", None, passing=True)
    assert hold.judge(0.0, SMALL) is HELD


@pytest.mark.parametrize("removal", [SMALL, LARGE, SMALL._replace(one_cause=True), Removal(5, 0, 5, 0)])
@pytest.mark.parametrize("seconds", [SECONDS, 0.0])
def test_doubt_in_a_source_holds_removals_of_any_size_without_a_limit(removal, seconds):
    hold = RemovalHold(HoldPolicy(seconds))
    hold.doubt("etcd", "another cluster")
    assert hold.judge(0.0, removal) is HELD
    assert hold.due(0.0) == inf
    assert hold.judge(1e9, removal) is HELD
    hold.confirm(1e9)
    assert hold.judge(1e9, removal) is HELD, "the source withdraws its doubt first"
    assert hold.due(1e9) == LONGEST
    hold.doubt("etcd", None)
    assert hold.judge(1e9, removal) is ALLOWED


def test_confirmed_removal_does_not_wait_for_long_for_a_source_that_keeps_its_doubt(hold):
    hold.doubt("etcd", "another cluster")
    assert hold.judge(0.0, SMALL) is HELD
    hold.confirm(10.0)
    assert hold.judge(10.0 + LONGEST - 0.1, SMALL) is HELD
    assert hold.judge(10.0 + LONGEST, SMALL) is ALLOWED
    assert hold.judge(10.0 + LONGEST, SMALL) is HELD


def test_removals_that_follow_from_a_doubt_that_was_confirmed_are_not_held(hold):
    hold.doubt("etcd", "another cluster")
    hold.confirm(0.0)
    hold.end()
    hold.changed(30.0)
    hold.doubt("etcd", None)
    assert hold.judge(30.0, LARGE) is WAIT, "more may come"
    assert hold.judge(30.0 + CALM, LARGE) is ALLOWED
    assert hold.judge(30.0 + 2 * CALM, LARGE) is HELD, "it is another one"


def test_removal_that_follows_has_to_begin_soon(hold):
    hold.doubt("etcd", "another cluster")
    hold.confirm(0.0)
    hold.doubt("etcd", "more follows", passing=True)
    hold.changed(30.0)
    hold.doubt("etcd", None)
    hold.end()
    assert hold.judge(30.0 + FOLLOWS - CALM, LARGE) is WAIT
    assert hold.judge(30.0 + FOLLOWS, LARGE) is HELD


def test_removal_after_a_confirmed_doubt_that_nothing_followed_from_is_held(hold):
    hold.doubt("etcd", "another cluster")
    hold.confirm(0.0)
    hold.end()
    hold.changed(30.0)
    hold.doubt("etcd", None)
    hold.end()
    assert hold.judge(30.0 + CALM, LARGE) is HELD


def test_removals_that_follow_wait_until_all_sources_are_believed(hold):
    hold.doubt("etcd", "another cluster")
    hold.doubt("tree", "unreadable")
    hold.confirm(0.0)
    hold.doubt("etcd", None)
    assert hold.judge(30.0, SMALL) is HELD
    hold.changed(60.0)
    hold.doubt("tree", None)
    assert hold.judge(60.0 + CALM, LARGE) is ALLOWED


def test_removals_that_follow_from_a_doubt_that_ended_by_itself_are_held(hold):
    hold.doubt("etcd", "another cluster")
    hold.changed(30.0)
    hold.doubt("etcd", None)
    hold.confirm(30.1)
    assert hold.judge(30.2, LARGE) is HELD


def test_removals_are_judged_by_their_size_when_the_doubt_is_withdrawn(hold):
    hold.doubt("etcd", "another cluster")
    assert hold.judge(0.0, LARGE) is HELD
    hold.doubt("etcd", None)
    assert hold.judge(100.0, SMALL) is ALLOWED
    assert hold.judge(100.0, LARGE) is HELD
    assert hold.due(100.0) == SECONDS


def test_large_removal_that_was_held_by_a_doubt_has_a_whole_hold_after_it(hold):
    hold.doubt("etcd", "another cluster")
    hold.judge(0.0, LARGE)
    hold.doubt("etcd", None)
    assert hold.judge(100.0, LARGE) is HELD
    assert hold.judge(100.0 + SECONDS, LARGE) is ALLOWED


def test_holds_are_logged_when_they_begin_and_when_they_end(hold, caplog):
    for now in (0.0, 0.5):
        hold.judge(now, LARGE)
    hold.end()
    hold.judge(1.0, Removal(0, 0, 20, 11, 300, 299))
    hold.end()
    hold.doubt("etcd", "another cluster")
    for now in (2.0, 3.0):
        hold.judge(now, SMALL)
    hold.confirm(3.0)
    hold.judge(3.0 + LONGEST, SMALL)
    until = "would be removed at once: held for 60 seconds, or until clusterf config confirm"
    assert caplog.messages == [
        f"ipvs: 15 of 20 virtual servers {until}",
        "ipvs: removals are no longer held",
        f"ipvs: 11 of 20 real servers (99 % of the weight) {until}",
        "ipvs: removals are no longer held",
        "ipvs: removals are held until clusterf config confirm: another cluster",
        "ipvs: removals are no longer held",
    ]


@pytest.mark.parametrize("follows", [True, False])
def test_removal_that_follows_from_a_confirmation_at_once_is_not_held(hold, follows):
    hold.changed(-1.0)
    hold.confirm(0.0, follows=follows)
    assert hold.judge(0.0, LARGE) is (ALLOWED if follows else HELD)
    assert hold.judge(1.0, LARGE) is HELD, "it is another one"


def test_hold_ends_when_the_sources_of_that_moment_are_known(hold, caplog):
    hold.changed(-1.0)
    hold.alive(0.0, 0.0)
    assert hold.judge(0.0, LARGE) is HELD
    assert hold.known(1.0) == -inf
    hold.alive(SECONDS + 5.0, SECONDS - 0.1)
    assert hold.judge(SECONDS + 5.0, LARGE) is HELD
    assert hold.due(SECONDS + 5.0) == inf
    assert "held on" not in caplog.text
    for _ in range(2):
        assert hold.judge(SECONDS + SILENT, LARGE) is HELD
    assert caplog.text.count("held on, as the sources cannot be read") == 1
    hold.alive(SECONDS + 5.0, SECONDS)
    assert hold.judge(SECONDS + 5.0, LARGE) is ALLOWED
    assert hold.known(SECONDS + 6.0) == SECONDS + 5.0
    assert hold.known(SECONDS + 4.0) == SECONDS + 4.0


def test_confirmation_does_not_wait_for_the_configuration_of_that_moment(hold):
    hold.changed(-1.0)
    hold.alive(0.0, 0.0)
    assert hold.judge(0.0, LARGE) is HELD
    hold.confirm(5.0)
    assert hold.judge(5.0, LARGE) is ALLOWED
