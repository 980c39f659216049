"""Periods, and what they explain."""

from hypothesis import given
from hypothesis import strategies as st

from tests.soak.periods import ALWAYS, Delays, Ledger, Period, common, inverted, merged, overlapping

PERIODS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)).map(lambda pair: Period(pair[0], sum(pair))))
MOMENTS = [moment + 0.5 for moment in range(-2, 30)]


def holds(periods, moment):
    return overlapping(periods, moment, moment)


@given(PERIODS, PERIODS)
def test_periods_are_sets_of_moments(one, two):
    for moment in MOMENTS:
        assert holds(merged(one), moment) == holds(one, moment)
        assert holds(inverted(one), moment) != holds(one, moment)
        assert holds(common(one, two), moment) == (holds(one, moment) and holds(two, moment))


def test_nothing_inverted_is_always():
    assert inverted([]) == [ALWAYS]
    assert inverted([ALWAYS]) == []


def test_delay_ends_at_a_cut():
    assert Delays([Period(0, 10), Period(8, 20)]).throughout(1, 19)
    assert not Delays([Period(0, 10), Period(11, 20)]).throughout(1, 19)
    assert not Delays([Period(0, 20)], [10]).throughout(1, 19)


def test_what_is_due_is_delayed_until_the_end_of_the_delays_or_a_cut():
    delays = Delays([Period(0, 10), Period(8, 20), Period(30, 40)], [35])
    assert [delays.until(time) for time in (9, 25, 31, 36)] == [20, 25, 35, 40]


def test_period_explains_until_its_slack_is_over_or_as_long_as_there_are_delays():
    ledger = Ledger([Period(0, 10)], 2, Delays([Period(50, 60)]))
    assert ledger.explain(11, 11.1)
    assert not ledger.explain(13, 13.1)
    assert Ledger([Period(0, 10)], 2, Delays([Period(5, 20)])).explain(19, 19.1)


def test_period_explains_no_more_once_its_event_was_undone_after_it():
    ledger = Ledger([Period(0, 10)], 2, Delays([]))
    assert ledger.explain(5, 5.1)
    ledger.undone(7)
    assert ledger.explain(8, 8.1)
    ledger.undone(10.5)
    assert not ledger.explain(11, 11.1)
