"""When it is believed that keys have gone with their leases."""

import logging

import pytest

from clusterf.etcd.client import LeaseTime
from clusterf.etcd.errors import EtcdError
from clusterf.lib.store import Store
from clusterf.sources.lease_ends import AWAY, TTL, LeaseEnds

URL = "etcd://a/clusterf"
GONE = LeaseTime(0, 0)
FRESH, OLD = LeaseTime(9, 10), LeaseTime(4, 10)


class World:
    """A source with two keys on each of its leases, which are kept alive, and the clock."""

    def __init__(self, *leases, path=None, ttl=10):
        self.times = {lease: LeaseTime(ttl, ttl) for lease in leases}
        self.store = Store(path)
        self.now = 1000.0
        self.broken = False
        self.asked = []
        self.ends = LeaseEnds(URL, self.store)
        # the lease of each path
        self.on = {path: lease for lease in leases for path in keys(lease)}
        self.ends.listed(keys(*leases), self.on)
        self.pass_(0)
        self.pass_(10)

    def ask(self, lease):
        self.asked.append(lease)
        if self.broken:
            raise EtcdError("a: deadline_exceeded")
        return self.times[lease]

    def pass_(self, seconds, *, heard=True):
        """Have time pass, in steps; return what goes meanwhile."""
        gone = set()
        steps = max(1, round(seconds * 4))
        for _ in range(steps):
            self.now += seconds / steps
            if heard:
                self.heard = self.now
            gone |= set(self.ends.settle(self.now, self.heard, self.ask))
        return gone

    def end(self, *leases):
        """End leases, which takes their keys."""
        for lease in leases:
            self.times[lease] = GONE
            assert all(self.ends.delete(path) for path, at in self.on.items() if at == lease)

    def back(self, lease, new):
        """Put the keys of a lease on a new one."""
        self.times[new] = FRESH
        for path in keys(lease):
            self.on[path] = new
            self.ends.put(path, new)

    def again(self, path):
        """Start anew, with what is recorded."""
        self.store = Store(path)
        self.ends = LeaseEnds(URL, self.store)


def keys(*leases):
    return {b"%d/%d" % (lease, number) for lease in leases for number in range(2)}


@pytest.fixture(autouse=True)
def level(caplog):
    caplog.set_level(logging.INFO)


def test_key_without_a_lease_goes_at_once():
    assert not World(7).ends.delete(b"other")


def test_key_that_somebody_deletes_goes_at_once(caplog):
    world = World(7, 8)
    assert world.ends.delete(b"7/0")
    assert world.pass_(0) == {b"7/0"}
    assert world.ends.delete(b"7/1")
    assert world.pass_(0) == {b"7/1"}
    assert (world.ends.pending, caplog.messages) == (frozenset(), [])


def test_all_keys_of_a_lease_that_lives_go_at_once():
    world = World(7)
    assert all(world.ends.delete(path) for path in keys(7))
    assert world.pass_(0) == keys(7)


def test_keys_of_one_lease_that_ends_among_others_that_are_kept_alive_go_after_a_second(caplog):
    world = World(7, 8, 9)
    world.end(7)
    assert world.pass_(0.75) == set()
    assert world.ends.pending == keys(7)
    assert world.pass_(0.5) == keys(7)
    assert (world.ends.pending, world.pass_(60), caplog.messages) == (frozenset(), set(), [])


@pytest.mark.parametrize("apart", [0, 0.75])
def test_keys_of_leases_that_end_together_are_held_for_twice_the_ttl(caplog, apart):
    world = World(7, 8, 9)
    world.end(7)
    world.pass_(apart)
    world.end(8)
    assert world.pass_(19) == set()
    assert world.ends.pending == keys(7, 8)
    assert world.pass_(2) == keys(7, 8)
    held = "the removal of their 4 keys is held for 20 seconds, or until clusterf config confirm"
    assert caplog.messages == [
        f"{URL}: 2 of 3 leases ended at once: {held}",
        f"{URL}: removals by the end of leases are no longer held: 0 keys are back, 4 are removed",
    ]


def test_leases_that_end_one_after_the_other_are_obeyed():
    world = World(7, 8, 9)
    for lease in (7, 8):
        world.end(lease)
        assert world.pass_(1.5) == keys(lease)


def test_keys_that_come_back_were_never_gone(caplog):
    world = World(7, 8)
    world.end(7, 8)
    world.pass_(0.25)
    world.back(7, 17)
    world.back(8, 18)
    assert (world.ends.pending, world.pass_(60), caplog.messages) == (frozenset(), set(), [])
    world.end(17)
    assert world.pass_(1.25) == keys(7)


def test_keys_that_come_back_during_the_hold_stay_and_the_others_go_after_it(caplog):
    world = World(7, 8)
    world.end(7, 8)
    world.pass_(2)
    world.back(7, 17)
    assert world.ends.pending == keys(8)
    assert world.pass_(20) == keys(8)
    assert caplog.messages[1:] == [
        f"{URL}: removals by the end of leases are no longer held: 2 keys are back, 2 are removed"
    ]


def test_one_that_comes_back_at_once_shows_that_the_other_has_not_died():
    world = World(7, 8, 9)
    world.end(7, 8)
    world.back(7, 17)
    assert world.pass_(10) == set()


def test_end_of_the_only_lease_is_held(caplog):
    world = World(7)
    world.end(7)
    assert world.pass_(19) == set()
    assert world.pass_(2) == keys(7)
    assert "1 of 1 leases ended at once: the removal of their 2 keys" in caplog.text


@pytest.mark.parametrize("time", [OLD, GONE])
def test_one_lease_that_ends_while_nobody_keeps_the_others_alive_is_held(time):
    world = World(7, 8, 9)
    world.times.update({8: time, 9: time})
    world.end(7)
    assert world.pass_(10) == set()


@pytest.mark.parametrize("time", [FRESH, LeaseTime(6, 10), LeaseTime(2, 4), LeaseTime(1, 2)])
def test_one_other_lease_that_is_kept_alive_is_enough(time):
    world = World(7, 8, 9)
    world.times.update({8: OLD, 9: time})
    world.end(7)
    assert world.pass_(2) == keys(7)


def test_end_of_one_lease_is_held_if_it_cannot_be_found_out_how_the_others_are():
    world = World(7, 8)
    world.end(7)
    world.broken = True
    assert world.pass_(19) == set()
    assert world.pass_(2) == keys(7)


def test_one_lease_that_ends_when_etcd_answers_again_is_held():
    world = World(7, 8)
    world.pass_(AWAY, heard=False)
    world.pass_(0)
    world.pass_(1)
    world.end(7)
    assert world.pass_(10) == set()


def test_hold_does_not_end_while_etcd_is_away():
    world = World(7, 8)
    world.end(7, 8)
    world.pass_(10)
    assert world.pass_(100, heard=False) == set()
    assert world.pass_(0) == set()
    assert world.pass_(9) == set()
    assert world.pass_(2) == keys(7, 8)


def test_ttl_is_that_of_the_lease():
    world = World(7, 8, ttl=30)
    world.end(7, 8)
    assert world.pass_(59) == set()
    assert world.pass_(2) == keys(7, 8)


def test_ttl_that_cannot_be_asked_for_is_the_default():
    world = World()
    world.broken = True
    world.back(7, 8)
    world.pass_(10)
    world.end(8)
    world.pass_(2 * TTL - 1)
    assert world.pass_(2) == keys(7)


def test_ttl_that_could_not_be_asked_for_is_asked_for_again_later():
    world = World()
    world.broken = True
    world.back(7, 8)
    world.pass_(10)
    assert world.asked == [8]
    world.broken = False
    world.times[8] = LeaseTime(30, 30)
    world.pass_(30)
    world.end(8)
    world.pass_(59)
    assert world.pass_(2) == keys(7)


def test_leases_are_asked_for_their_ttl_once_and_a_few_at_a_time():
    world = World(*range(100, 150))
    assert sorted(world.asked) == list(range(100, 150))


def test_confirmation_lets_go_what_is_held_and_what_is_undecided(caplog):
    world = World(7, 8, 9)
    world.end(7, 8)
    world.pass_(2)
    world.end(9)
    world.ends.confirm()
    assert world.pass_(0) == keys(7, 8, 9)
    assert caplog.messages[1:] == [
        f"{URL}: removals by the end of leases are no longer held: 0 keys are back, 4 are removed"
    ]
    world.back(7, 17)
    world.pass_(0)
    assert world.ends.pending == frozenset()


def test_list_tells_what_has_gone_and_what_is_back():
    world = World(7, 8, 9)
    world.times.update({7: GONE, 8: GONE, 18: FRESH})
    world.ends.listed(keys(9), dict.fromkeys(keys(9), 9))
    assert world.pass_(0) == set()
    assert world.ends.pending == keys(7, 8)
    world.ends.listed(keys(8, 9), dict.fromkeys(keys(8), 18) | dict.fromkeys(keys(9), 9))
    assert world.ends.pending == keys(7)
    world.ends.listed(keys(7, 8, 9), dict.fromkeys(keys(9), 9))  # not on leases any more
    assert (world.ends.pending, world.ends.delete(b"7/0")) == (frozenset(), False)


def test_what_was_pending_is_held_after_a_restart_for_a_whole_time(tmp_path, caplog):
    path = tmp_path / "state"
    world = World(7, 8, 9, path=path, ttl=30)
    world.end(7, 8)
    world.pass_(50)
    world.again(path)
    assert world.ends.pending == keys(7, 8)
    world.ends.listed(keys(9), dict.fromkeys(keys(9), 9))
    assert world.pass_(59) == set()
    assert world.pass_(2) == keys(7, 8)
    held = "held for 60 seconds, or until clusterf config confirm, as before the start"
    assert caplog.messages[1:] == [
        *[f"{URL}: the removal of 2 keys of a lease that ended is {held}"] * 2,
        f"{URL}: removals by the end of leases are no longer held: 0 keys are back, 4 are removed",
    ]
    world.again(path)
    assert world.ends.pending == frozenset()


def test_what_came_back_while_the_process_was_away_is_not_held(tmp_path, caplog):
    path = tmp_path / "state"
    world = World(7, 8, path=path)
    world.end(7, 8)
    world.pass_(0.5)
    world.again(path)
    world.times[9] = FRESH
    world.ends.listed(keys(7, 8), dict.fromkeys(keys(7, 8), 9))
    assert (world.pass_(30), caplog.messages) == (set(), [])


def test_leases_that_ended_while_the_process_was_away_are_known(tmp_path):
    path = tmp_path / "state"
    world = World(7, 8, path=path)
    world.times.update({7: GONE, 8: GONE})
    world.again(path)
    world.ends.listed(set(), {})
    assert world.pass_(19) == set()
    assert world.pass_(2) == keys(7, 8)


def test_nothing_is_recorded_that_did_not_change(monkeypatch):
    world = World(7, 8)
    written = []
    monkeypatch.setattr(world.store, "update", lambda *change: written.append(change))
    world.pass_(5)
    assert written == []
