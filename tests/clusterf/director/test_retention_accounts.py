"""When retention is due again, and what it counts as in force, leaving and gained."""

import pytest
from msgspec import structs

from clusterf.director.merger import Origin, RealServerWanted, VirtualServerSpec, VirtualServerWanted
from clusterf.director.removal_hold import CALM, LONGEST, Decision, HoldPolicy, Removal
from clusterf.director.retention import Retention
from clusterf.director.unproven import GRACE, Proving
from clusterf.director.unproven import LONGEST as LONGEST_PROVING
from clusterf.ipvs.table import Table, table_of
from tests.clusterf.support.left_behind import left_behind
from tests.clusterf.support.reconciling import DNS, FIVE, MARK, ONE, RR, TEN, THREE, TWO, WEB, WLC, ZERO

BY_WEB = Origin(b"web")
SPEC = VirtualServerSpec(WLC, 30.0)


class Hold:
    """A hold that decides as the test says, and notes what it is asked."""

    def __init__(self):
        self.decision = Decision.WAIT
        self.judged = []
        self.ended = 0

    def judge(self, now, removal):
        self.judged.append(removal)
        return self.decision

    def due(self, now):
        return now + CALM

    def end(self):
        self.ended += 1


@pytest.fixture
def hold():
    return Hold()


@pytest.fixture
def retention(hold):
    """Two real servers of a virtual server, with weight, and one of another, without."""
    retention = Retention(HoldPolicy())
    retention.hold = hold
    list(retention.begin(Table(), {}))
    idle = RealServerWanted(DNS, ONE, structs.replace(TEN, weight=0))
    wanted = [VirtualServerWanted(virtual, SPEC) for virtual in (WEB, DNS)]
    list(retention.take([*wanted, RealServerWanted(WEB, ONE, TEN), RealServerWanted(WEB, TWO, TEN), idle]))
    return retention


def until(seconds, unproven=1):
    """Return how it stands with new backends: they may prove themselves until then."""
    return lambda virtual, now: Proving(unproven, seconds)


def test_nothing_is_due_while_nothing_leaves(retention, hold):
    assert retention.due(0.0, until(7.0)) is None
    assert list(retention.release(0.0, until(7.0))) == []
    assert hold.ended == 1


def test_removal_is_due_when_the_hold_says_so(retention):
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    assert retention.due(3.0, until(7.0)) == 3.0 + CALM


@pytest.mark.parametrize(("now", "due"), [(2.0, 5.0), (6.5, 0.5), (9.0, 0.0)])
def test_real_server_that_is_replaced_is_due_when_its_successors_have_had_their_time(retention, hold, now, due):
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    hold.decision = Decision.ALLOWED
    assert list(retention.release(0.0, until(7.0))) == []
    asked = []
    assert retention.due(now, lambda *about: asked.append(about) or Proving(1, 7.0)) == due
    assert asked == [(WEB, now)]
    assert retention.due(now, until(None)) is None
    assert list(retention.release(9.0, until(None))) == [RealServerWanted(WEB, ONE, None)]
    assert retention.due(9.0, until(7.0)) is None


def test_hold_judges_what_is_in_force_and_what_of_that_leaves(retention, hold):
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    list(retention.release(0.0, until(7.0)))
    assert hold.judged == [Removal(2, 0, 2, 1, 20, 10, one_cause=True)]


def test_virtual_server_leaves_with_its_real_servers(retention, hold):
    list(retention.take([VirtualServerWanted(WEB, None, BY_WEB)]))
    list(retention.release(0.0, until(7.0)))
    assert hold.judged == [Removal(2, 1, 2, 2, 20, 20, one_cause=True)]
    hold.decision = Decision.ALLOWED
    assert list(retention.release(0.0, until(7.0))) == [VirtualServerWanted(WEB, None)]
    list(retention.take([VirtualServerWanted(DNS, None, BY_WEB)]))
    list(retention.release(0.0, until(7.0)))
    assert hold.judged[-1] == Removal(1, 1, 0, 0, 0, 0, one_cause=True), "what has gone is not in force"


def test_least_weight_is_in_force_and_none_is_not(retention, hold):
    for weight in (1, 2, 1):
        list(retention.take([RealServerWanted(DNS, ONE, structs.replace(TEN, weight=weight))]))
    list(retention.take([RealServerWanted(DNS, ONE, None, BY_WEB)]))
    list(retention.release(0.0, until(7.0)))
    assert hold.judged == [Removal(2, 0, 3, 1, 21, 1, one_cause=True)]


def test_real_server_that_is_wanted_again_no_longer_leaves(retention, hold):
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    hold.decision = Decision.ALLOWED
    list(retention.release(0.0, until(7.0)))
    assert list(retention.take([RealServerWanted(WEB, ONE, TEN)])) == [RealServerWanted(WEB, ONE, TEN)]
    assert retention.due(0.0, until(7.0)) is None
    assert list(retention.release(9.0, until(None))) == []


def test_gain_before_a_real_server_leaves_does_not_replace_it(retention, hold):
    hold.decision = Decision.ALLOWED
    for gained in (20, 30):
        list(retention.take([RealServerWanted(WEB, TWO, structs.replace(TEN, weight=gained))]))
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    assert list(retention.release(0.0, until(7.0))) == []
    list(retention.take([RealServerWanted(WEB, TWO, structs.replace(TEN, weight=39))]))
    assert list(retention.release(0.0, until(7.0))) == []
    list(retention.take([RealServerWanted(WEB, TWO, structs.replace(TEN, weight=40))]))
    assert list(retention.release(0.0, until(7.0))) == [RealServerWanted(WEB, ONE, None)]


def test_gain_after_a_replacement_ended_does_not_replace_what_leaves_later(retention, hold):
    hold.decision = Decision.ALLOWED
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    assert list(retention.release(0.0, until(None))) == [RealServerWanted(WEB, ONE, None)]
    list(retention.take([RealServerWanted(WEB, ONE, TEN)]))
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    assert list(retention.release(1.0, until(7.0))) == []


def test_gain_while_a_real_server_was_to_leave_does_not_replace_it_when_it_leaves_again(retention, hold):
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    list(retention.take([RealServerWanted(WEB, TWO, structs.replace(TEN, weight=30))]))
    list(retention.take([RealServerWanted(WEB, ONE, TEN)]))
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    hold.decision = Decision.ALLOWED
    assert list(retention.release(0.0, until(7.0))) == []


def test_gain_counts_on_for_one_that_leaves_as_another_one_is_wanted_again(retention, hold):
    list(retention.take([RealServerWanted(WEB, real, None, BY_WEB) for real in (ONE, TWO)]))
    list(retention.take([RealServerWanted(WEB, THREE, TEN)]))
    list(retention.take([RealServerWanted(WEB, TWO, TEN)]))
    hold.decision = Decision.ALLOWED
    assert list(retention.release(0.0, until(7.0))) == [RealServerWanted(WEB, ONE, None)]


def test_each_gain_replaces_one_real_server_of_its_weight(retention, hold):
    hold.decision = Decision.ALLOWED
    list(retention.take([RealServerWanted(WEB, real, None, BY_WEB) for real in (ONE, TWO)]))
    for weight, real in ((10, ONE), (20, TWO)):
        assert list(retention.release(0.0, until(7.0))) == []
        list(retention.take([RealServerWanted(WEB, THREE, structs.replace(TEN, weight=weight))]))
        assert list(retention.release(0.0, until(7.0))) == [RealServerWanted(WEB, real, None)]


def test_what_is_found_at_the_start_is_kept_as_it_is_and_leaves_from_then_on(hold):
    retention = Retention(HoldPolicy())
    retention.hold = hold
    found = table_of([(MARK, RR, {ONE: TEN}), (WEB, RR, {ONE: TEN, TWO: ZERO})])
    assert list(retention.begin(found, {WEB: 7.0}, 5.0)) == [
        VirtualServerWanted(WEB, VirtualServerSpec(RR, 7.0)),
        RealServerWanted(WEB, ONE, TEN),
        RealServerWanted(WEB, TWO, ZERO),
    ]
    hold.decision = Decision.OVERDUE
    assert list(retention.release(5.0 + LONGEST - 0.1, until(None))) == []
    assert hold.judged == [Removal(1, 1, 1, 1, 10, 10, one_cause=False)]
    assert list(retention.release(5.0 + LONGEST, until(None))) == [VirtualServerWanted(WEB, None)]


@pytest.mark.parametrize("wanted", [False, True])
def test_settings_in_force_are_those_passed_on_or_else_those_found_with_weight(hold, wanted):
    reads = []
    retention = Retention(HoldPolicy(), lambda virtual: reads.append(virtual) or (WLC, {ONE: TEN, TWO: ZERO}))
    retention.hold = hold
    if wanted:
        list(retention.take([VirtualServerWanted(WEB, SPEC), RealServerWanted(WEB, TWO, FIVE)]))
    assert retention.settings(WEB, ONE) is None, "before it begins"
    list(retention.begin(Table(), {}))
    assert [retention.settings(WEB, real) for real in (ONE, TWO)] == ([None, FIVE] if wanted else [TEN, None])
    assert reads == ([] if wanted else [WEB])


def test_only_real_servers_with_weight_are_kept_of_a_virtual_server_that_is_taken_over(hold):
    retention = Retention(HoldPolicy(), lambda _: (RR, {ONE: TEN, TWO: ZERO}))
    retention.hold = hold
    list(retention.begin(Table(), {}))
    wanted = VirtualServerWanted(WEB, SPEC)
    assert list(retention.take([wanted], 5.0)) == [wanted, RealServerWanted(WEB, ONE, TEN)]
    hold.decision = Decision.OVERDUE
    assert list(retention.release(5.0 + LONGEST - 0.1, until(None))) == []
    assert list(retention.release(5.0 + LONGEST, until(None))) == [RealServerWanted(WEB, ONE, None)]


def test_removal_that_is_overdue_takes_only_what_left_before_the_last_moments(retention, hold):
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)], 1.0))
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB), VirtualServerWanted(DNS, None, BY_WEB)], 2.0))
    hold.decision = Decision.OVERDUE
    assert list(retention.release(1.0 + LONGEST, until(None))) == [RealServerWanted(WEB, ONE, None)]
    assert list(retention.release(2.0 + LONGEST, until(None))) == [VirtualServerWanted(DNS, None)]


def test_real_server_that_was_overdue_waits_for_its_successors_until_its_virtual_server_goes(retention, hold):
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)], 1.0))
    list(retention.take([VirtualServerWanted(WEB, None, BY_WEB)], 2.0))
    hold.decision = Decision.OVERDUE
    assert list(retention.release(1.0 + LONGEST, until(7.0))) == []
    assert list(retention.release(2.0 + LONGEST, until(7.0))) == [VirtualServerWanted(WEB, None)]
    assert retention.due(2.0 + LONGEST, until(7.0)) is None


def test_real_server_that_waits_for_its_successors_goes_with_its_virtual_server(retention, hold):
    hold.decision = Decision.ALLOWED
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    assert list(retention.release(0.0, until(7.0))) == []
    list(retention.take([VirtualServerWanted(WEB, None, BY_WEB)]))
    hold.decision = Decision.WAIT
    assert list(retention.release(9.0, until(None))) == [], "the hold is for all of it"
    hold.decision = Decision.ALLOWED
    assert list(retention.release(9.0, until(None))) == [VirtualServerWanted(WEB, None)]
    assert retention.due(0.0, until(7.0)) is None


def test_real_server_that_leaves_and_that_health_removes_goes_at_once(retention, hold):
    for decision in (Decision.WAIT, Decision.ALLOWED):
        hold.decision = decision
        list(retention.take([RealServerWanted(WEB, ONE, TEN)]))
        list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
        assert list(retention.release(0.0, until(7.0))) == []
        assert list(retention.take([RealServerWanted(WEB, ONE, None)])) == [RealServerWanted(WEB, ONE, None)]
        assert retention.due(0.0, until(7.0)) is None
    list(retention.take([RealServerWanted(WEB, TWO, None, BY_WEB)]))
    list(retention.release(0.0, until(7.0)))
    assert hold.judged[-1] == Removal(2, 0, 1, 1, 10, 10, one_cause=True), "what has gone is not in force"


def test_real_server_that_waits_for_its_successors_does_not_leave_once_more(retention, hold):
    hold.decision = Decision.ALLOWED
    for _ in range(2):
        assert list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)])) == []
        assert list(retention.release(0.0, until(7.0))) == []
    assert len(hold.judged) == 1


def test_removal_of_what_was_never_wanted_is_nothing_to_do(retention):
    never = [VirtualServerWanted(MARK, None, BY_WEB), RealServerWanted(MARK, ONE, None, BY_WEB)]
    assert list(retention.take([*never, RealServerWanted(DNS, TWO, None, BY_WEB)])) == []
    assert retention.due(0.0, until(7.0)) is None


@pytest.mark.parametrize(("weights", "count"), [([10, 1], 2), ([10, 0], 1), ([0, 0], 0)])
def test_only_real_servers_with_weight_are_reported_as_removed_before_their_successors_were_up(
    retention, hold, caplog, weights, count
):
    for real, weight in zip((ONE, TWO), weights, strict=True):
        list(retention.take([RealServerWanted(WEB, real, structs.replace(TEN, weight=weight))]))
        list(retention.take([RealServerWanted(WEB, real, None, BY_WEB)]))
    hold.decision = Decision.ALLOWED
    assert len(list(retention.release(0.0, until(None, unproven=3)))) == 2
    what = f"{count} real servers removed; of the backends that replace them 3 were not up in time"
    assert caplog.messages == ([f"ipvs: {WEB}: {what}"] if count else [])


def test_each_real_server_waits_for_a_bounded_time_however_many_successors_come_and_fail(retention, hold, caplog):
    bound, later = LONGEST_PROVING + GRACE, 100.0
    hold.decision = Decision.ALLOWED

    def endless(virtual, now):
        return Proving(1, now + 20.0)

    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)], 0.0))
    assert list(retention.release(0.0, endless)) == []
    list(retention.take([RealServerWanted(WEB, TWO, None, BY_WEB)], later))
    assert list(retention.release(later, endless)) == []
    assert list(retention.release(bound - 1.0, endless)) == []
    assert retention.due(bound - 1.0, endless) == 1.0
    assert list(retention.release(bound, endless)) == [RealServerWanted(WEB, ONE, None)]
    what = "1 real servers removed; of the backends that replace them 1 were not up in time"
    assert caplog.messages == [f"ipvs: {WEB}: {what}"]
    assert retention.due(bound, endless) == 20.0
    assert retention.due(bound + later - 1.0, endless) == 1.0
    assert list(retention.release(bound + later, endless)) == [RealServerWanted(WEB, TWO, None)]
    assert not retention.waits


@pytest.mark.parametrize("held", [0.0, 10_000.0])
def test_time_for_successors_begins_when_the_removal_is_no_longer_held(retention, hold, held):
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)], 0.0))
    assert list(retention.release(0.0, until(held + 20.0))) == []
    hold.decision = Decision.ALLOWED
    assert list(retention.release(held, until(held + 20.0))) == []
    assert list(retention.release(held + 19.0, until(held + 20.0))) == []
    assert list(retention.release(held + 20.0, until(None))) == [RealServerWanted(WEB, ONE, None)]


@pytest.mark.parametrize("decision", [Decision.WAIT, Decision.ALLOWED])
@pytest.mark.parametrize("begun", [True, False])
def test_nothing_is_kept_of_what_has_gone(hold, decision, begun):
    retention = Retention(HoldPolicy())
    retention.hold = hold
    if begun:
        list(retention.begin(Table(), {}))
    for real in (ONE, TWO):
        list(retention.take([VirtualServerWanted(WEB, SPEC), RealServerWanted(WEB, real, TEN)]))
    hold.decision = decision
    list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
    list(retention.release(0.0, until(7.0)))
    list(retention.take([VirtualServerWanted(WEB, None, BY_WEB)]))
    hold.decision = Decision.ALLOWED
    list(retention.release(0.0, until(7.0)))
    assert left_behind(retention) == {}


def out(settings=None):
    """Return that health takes the weight of a real server, or removes it."""
    return RealServerWanted(WEB, ONE, settings, lapse=3.0)


@pytest.mark.parametrize("settings", [None, structs.replace(TEN, weight=0)])
@pytest.mark.parametrize("how", ["is up", "leaves", "its virtual server leaves"])
def test_verdicts_that_took_weight_are_remembered_until_it_is_back_or_the_server_gone(retention, hold, settings, how):
    assert retention.lapse(WEB, ONE) == 0.0
    list(retention.take([out(settings)]))
    assert (retention.lapse(WEB, ONE), retention.lapse(WEB, TWO), retention.lapse(DNS, ONE)) == (3.0, 0.0, 0.0)
    hold.decision = Decision.WAIT
    if how == "is up":
        list(retention.take([RealServerWanted(WEB, ONE, TEN)]))
    elif how == "leaves":
        list(retention.take([RealServerWanted(WEB, ONE, None, BY_WEB)]))
        assert retention.lapse(WEB, ONE) == (3.0 if settings else 0.0), "while it is in force"
    else:
        list(retention.take([VirtualServerWanted(WEB, None, BY_WEB)]))
        assert retention.lapse(WEB, ONE) == 3.0
    hold.decision = Decision.ALLOWED
    list(retention.release(0.0, until(None)))
    assert retention.lapse(WEB, ONE) == 0.0
