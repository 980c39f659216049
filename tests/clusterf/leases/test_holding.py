from unittest.mock import Mock

from clusterf.leases.holding import Holding


def held(lease):
    found = []
    holding = Holding(10, Mock(found_engine="one"), found.append)
    holding.take_over(lease)
    return holding, found


def test_what_was_found_is_told_once_also_that_there_is_nothing():
    assert held(0)[1] == [{}]
    holding, found = held(7)
    assert found == []
    holding.found({b"a": b"1"})
    holding.found({})
    assert found == [{b"a": b"1"}]
    holding, found = held(7)
    holding.drop(ended=True)
    assert (holding.lease, found) == (0, [{}])


def test_lease_that_was_taken_over_is_foreign_if_another_engine_is_recorded():
    holding, _ = held(7)
    assert not holding.is_foreign  # nobody knows
    holding.engine = "one"
    assert not holding.is_foreign
    holding.engine = "two"
    assert holding.is_foreign
    holding.drop(ended=False)
    assert not holding.is_foreign


def test_what_was_found_is_wanted_after_the_lease_has_ended_only():
    for ended in (True, False):
        holding, _ = held(7)
        holding.keys.reset_written({b"a": b"1"})
        holding.drop(ended=ended)
        assert holding.keys.wanted == ({b"a": b"1"} if ended else {})
