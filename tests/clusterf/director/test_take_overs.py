"""TakeOvers on its own; with all that is around it: test_rotation_inherits, _lapses and _start."""

import pytest

from clusterf.director.take_overs import NothingInForce, TakeOvers
from clusterf.ipvs.table import Method, RealServerSettings
from tests.clusterf.support.reconciling import ONE, WEB

SERVICE = b"web"
WEIGHTS = {b"a": 5, b"b": 10, b"c": 20}


class InForce(NothingInForce):
    """One real server, with this weight."""

    def __init__(self, weight, lapse=0.0):
        self.weight, self.seconds = weight, lapse

    def settings(self, _virtual, _real):
        return RealServerSettings(Method.MASQ, self.weight)

    def lapse(self, _virtual, _real):
        return self.seconds


class Members:
    """Which backends are in rotation; those in `unknown` have no verdict, those in `unchecked` no check."""

    def __init__(self, counting=b"", unknown=b"", unchecked=b""):
        self.counting, self.unknown, self.unchecked = (_names(each) for each in (counting, unknown, unchecked))
        self.suspended = {}

    def in_rotation(self, service, name, virtual):
        assert (service, virtual) == (SERVICE, WEB)
        return name in self.counting

    def is_undecided(self, _service, name, _virtual):
        return name in self.unknown

    def endpoint(self, _service, _name, _virtual):
        return None

    def is_unchecked(self, service, name, virtual):
        assert (service, virtual) == (SERVICE, WEB)
        return name in self.unchecked

    def inherit(self, _service, name, _virtual, *, in_rotation):
        (self.counting.add if in_rotation else self.counting.discard)(name)

    def suspend(self, _service, name, _virtual, until):
        self.counting.discard(name)
        self.suspended[name] = until


def _names(text):
    return {bytes([byte]) for byte in text}


def settle(take_overs, members, weights=WEIGHTS):
    take_overs.settle(members, SERVICE, weights, WEB, ONE, 7.0)
    take_overs.end()
    return b"".join(sorted(members.counting))


@pytest.mark.parametrize(
    ("weight", "counting", "unknown", "then"),
    [
        (15, b"", b"abc", b"ab"),
        (15, b"b", b"ac", b"ab"),
        (20, b"", b"abc", b"c"),
        (35, b"", b"abc", b"abc"),
        (3, b"", b"abc", b"a"),
        (1, b"", b"abc", b"a"),
        (12, b"", b"abc", b"ab"),
        (0, b"abc", b"abc", b""),
        (25, b"a", b"a", b"a"),
        (30, b"bc", b"abc", b"bc"),
    ],
)
def test_backends_without_a_verdict_count_as_far_as_the_weight_needs_them(weight, counting, unknown, then):
    take_overs = TakeOvers(InForce(weight))
    take_overs.change_hands(WEB, ONE)
    assert settle(take_overs, Members(counting, unknown)) == then


def test_nothing_changes_where_nothing_was_taken_over():
    take_overs = TakeOvers(InForce(15))
    assert settle(take_overs, Members(b"c", b"abc")) == b"c"
    take_overs.lost(WEB, ONE, in_rotation=False)
    assert settle(take_overs, Members(b"c", b"abc")) == b"c"
    take_overs.lost(WEB, ONE, in_rotation=True)
    take_overs.excuse(WEB, ONE)
    assert settle(take_overs, Members(b"c", b"abc")) == b"c"


def test_what_makes_up_for_weight_is_chosen_anew_with_each_verdict_until_all_are_known():
    take_overs, members = TakeOvers(NothingInForce()), Members(b"", b"abc")
    take_overs.lend(WEB, ONE, 15)
    assert settle(take_overs, members) == b"ab"
    members.unknown.remove(b"a")
    members.counting.remove(b"a")
    assert settle(take_overs, members) == b"b"
    members.unknown.remove(b"c")
    assert settle(take_overs, members) == b"b"
    members.counting.add(b"c")
    assert settle(take_overs, members) == b"c", "it was the other one"


def test_nobody_makes_up_for_a_backend_that_was_up_and_fails():
    take_overs, members = TakeOvers(NothingInForce()), Members(b"b", b"ac")
    take_overs.lend(WEB, ONE, 15)
    assert settle(take_overs, members) == b"ab"
    members.counting.remove(b"b")
    assert settle(take_overs, members) == b"a"


def test_backend_that_makes_up_for_the_rest_goes_on_when_another_one_fails():
    take_overs, members = TakeOvers(NothingInForce()), Members(b"bc", b"a")
    take_overs.lend(WEB, ONE, 35)
    assert settle(take_overs, members) == b"abc"
    members.counting.remove(b"b")
    assert settle(take_overs, members) == b"ac"
    assert settle(take_overs, members) == b"ac"


def test_of_two_backends_the_one_that_was_not_meant_is_put_out():
    weights = {b"a": 10, b"b": 10}
    take_overs, members = TakeOvers(NothingInForce()), Members(b"", b"ab")
    take_overs.lend(WEB, ONE, 10)
    assert settle(take_overs, members, weights) == b"a"
    members.unknown.remove(b"b")
    members.counting.add(b"b")
    assert settle(take_overs, members, weights) == b"b"


def test_backend_of_the_least_weight_makes_up_for_what_no_backend_weighs():
    take_overs, members = TakeOvers(NothingInForce()), Members(b"", b"abc")
    take_overs.lend(WEB, ONE, 3)
    assert settle(take_overs, members, {b"a": 20, b"b": 10, b"c": 5}) == b"c"


def test_loan_ends_with_the_backends():
    take_overs = TakeOvers(NothingInForce())
    take_overs.lend(WEB, ONE, 15)
    take_overs.forget(WEB, ONE)
    assert settle(take_overs, Members(b"", b"abc")) == b""


@pytest.mark.parametrize(("weight", "then"), [(0, b""), (5, b"a"), (15, b"ab"), (35, b"abc")])
@pytest.mark.parametrize("how", ["lost", "all others"])
def test_backends_without_a_check_wait_where_verdicts_took_weight(weight, then, how):
    take_overs, members = TakeOvers(InForce(weight, lapse=3.0)), Members(b"abc", unchecked=b"abc")
    if how == "lost":
        take_overs.lost(WEB, ONE, in_rotation=False)
    else:
        take_overs.change_hands(WEB, ONE)
    assert settle(take_overs, members) == then
    assert set(members.suspended.values()) <= {10.0}
    assert settle(take_overs, members) == then, "only when hands change"
