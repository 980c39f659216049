"""When retention is due again, and what it counts as in force, leaving and gained."""

import pytest
from msgspec import structs

from clusterf.director.merger import Origin, RealServerWanted, VirtualServerSpec, VirtualServerWanted
from clusterf.director.removal_hold import CALM, Decision, HoldPolicy, Removal
from clusterf.director.retention import Retention
from clusterf.director.unproven import Proving
from clusterf.ipvs.table import Table
from tests.clusterf.support.reconciling import DNS, ONE, TEN, TWO, WEB, WLC

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
    list(retention.take([RealServerWanted(DNS, ONE, structs.replace(TEN, weight=1))]))
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
