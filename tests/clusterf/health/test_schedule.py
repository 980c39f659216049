import random
from bisect import bisect_left
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clusterf.health.schedule import BURST, CATCH_UP, HEADROOM, MIN_INTERVAL, MIN_PACE, Schedule, Slot
from tests.examples import examples

DAY = 86400.0


class World:
    """A schedule, its slots by name, a clock, and the starts so far: when, and of which."""

    def __init__(self, chance=None):
        self.schedule = Schedule(chance or random.Random(7).random)
        self.slots = {}
        self.now = 1000.0
        self.starts = []

    def add(self, name, interval, fast=DAY, jitter=0.0):
        self.slots[name] = Slot(name, interval, fast, jitter)
        self.schedule.add(self.slots[name], self.now)

    def remove(self, name):
        self.schedule.remove(self.slots.pop(name))

    def take(self):
        taken = self.schedule.take(self.now)
        self.starts += [(self.now, name) for name in taken]
        return taken

    def finish(self, name, fast=False):
        self.schedule.finished(self.slots[name], self.now, fast=fast)

    def run(self, seconds, fast=False):
        """Start probes when they are due, for so many seconds; probes take no time."""
        until = self.now + seconds
        while (at := self.schedule.wake_at()) is not None and at <= until:
            self.now = max(self.now, at)
            for name in self.take():
                self.finish(name, fast)
        self.now = until

    def times(self, name):
        return [at for at, started in self.starts if started == name]


def most_at_once(times, seconds):
    """Return the largest number of the sorted times within any period of so many seconds."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while times[first] < at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_new_item_is_due_at_once_and_then_on_its_grid():
    world = World(chance=lambda: 0.25)
    world.add("a", 8.0)
    assert world.schedule.wake_at() <= world.now
    world.run(30.0)
    assert world.times("a") == [1000.0, 1002.0, 1010.0, 1018.0, 1026.0]


def test_item_is_not_due_while_its_probe_is_under_way():
    world = World()
    world.add("a", 1.0)
    assert world.take() == ["a"]
    world.now += 100.0
    assert world.schedule.wake_at() is None
    assert world.take() == []


@given(
    interval=st.sampled_from([0.1, 1 / 3, 2.0, 5.0, DAY]),
    jitter=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    busy=st.floats(0.0, 0.9),
    seed=st.integers(0, 1000),
)
@settings(max_examples=examples(150), deadline=None)
def test_probes_are_one_interval_apart_on_average(interval, jitter, busy, seed):
    world = World(random.Random(seed).random)
    world.add("a", interval, jitter=jitter)
    slot = world.slots["a"]
    # short enough that no probe makes the next one late
    duration = busy * (1 - jitter) * interval
    for count in range(300):
        world.now = max(world.now, world.schedule.wake_at())
        if count:
            assert abs((world.now - slot.anchor) / interval - (count - 1)) <= 1 + 1e-6
            assert world.schedule.lag == 0.0
        assert world.take() == ["a"]
        # the first probe is before the grid starts
        world.now += duration if count else 0.0
        world.finish("a")


def test_jitter_of_one_spreads_probes_over_whole_cells():
    world = World()
    world.add("a", 1.0, jitter=1.0)
    world.run(1000.0)
    times = world.times("a")[1:]
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) < 0.1
    assert max(gaps) > 1.9
    assert sum(gaps) / len(gaps) == pytest.approx(1.0, abs=0.01)


def test_cells_that_pass_during_a_slow_probe_are_skipped():
    world = World(chance=lambda: 0.0)
    world.add("a", 1.0)
    world.take()
    world.now += 3.5
    world.finish("a")
    assert world.schedule.wake_at() == 1004.0


def test_fast_interval_counts_from_the_start_of_the_last_probe():
    world = World(chance=lambda: 0.5)
    world.add("a", 60.0, fast=2.0)
    world.take()
    world.now += 0.75
    world.finish("a", fast=True)
    assert world.schedule.wake_at() == 1002.0
    world.now = 1002.0
    assert world.take() == ["a"]
    world.finish("a")
    assert world.schedule.wake_at() == 1030.0  # back on its grid


def test_probe_longer_than_the_fast_interval_is_followed_at_once():
    world = World()
    world.add("a", 60.0, fast=1.0)
    world.take()
    world.now += 2.5
    world.finish("a", fast=True)
    assert world.schedule.wake_at() == world.now
    assert world.take() == ["a"]
    assert world.schedule.lag == 0.0


def test_fast_interval_is_limited_to_the_interval():
    assert Slot("a", 5.0, 60.0, 0.0).fast_interval == 5.0


@pytest.mark.parametrize("interval", [5e-324, 1e-310, 1e-9])
def test_interval_is_raised_to_the_minimum(interval):
    world = World()
    world.add("a", interval, fast=interval)
    world.add("b", 5.0)
    for fast in (False, True, False):
        world.run(0.1, fast)
    assert len(world.times("a")) == pytest.approx(0.3 / MIN_INTERVAL, abs=3)
    world.remove("a")
    world.starts.clear()
    world.run(50.0)
    assert len(world.times("b")) == 10


@pytest.mark.parametrize("pause", [1.0, 10.0, 3600.0, 100 * DAY])
def test_pause_causes_neither_a_burst_nor_extra_probes(pause):
    world = World()
    for name in range(1000):
        world.add(name, 2.0, jitter=0.1)
    world.run(10.0)
    world.now += pause
    world.starts.clear()
    world.run(4.0)
    times = [at for at, _ in world.starts]
    pace = HEADROOM * 1000 / 2.0
    for seconds in (0.0, 0.01, 0.1, 0.5, 1.0):
        assert most_at_once(times, seconds) <= 1 + (seconds + CATCH_UP) * pace + 1e-3
    counts = Counter(name for _, name in world.starts)
    assert len(counts) == 1000
    assert max(counts.values()) <= 4
    # one late probe each, and then those of the grid
    assert len(times) <= 3000 + 10
    world.starts.clear()
    world.run(20.0)
    assert set(Counter(name for _, name in world.starts).values()) <= {9, 10, 11}


def test_first_probes_of_many_items_are_spread_over_one_interval():
    world = World()
    for name in range(1000):
        world.add(name, 2.0)
    world.run(4.0)
    first = {}
    for at, name in world.starts:
        first.setdefault(name, at - 1000.0)
    assert len(first) == 1000
    assert 0.5 < max(first.values()) < 2.1


def test_probes_of_many_items_are_spread_over_the_interval():
    world = World()
    for name in range(1000):
        world.add(name, 2.0)
    world.run(10.0)
    world.starts.clear()
    world.run(2.0)
    tenths = Counter(int((at - 1010.0) / 0.2) for at, _ in world.starts)
    assert all(60 < tenths[tenth] < 140 for tenth in range(10))


def test_new_items_do_not_delay_others():
    world = World()
    for name in range(1000):
        world.add(name, 2.0)
    world.run(10.0)
    for name in range(1000, 5000):
        world.add(name, 2.0)
    lags = []
    for _ in range(400):
        world.run(0.01)
        lags.append(world.schedule.lag)
    assert len({name for _, name in world.starts}) == 5000
    assert max(lags) < 0.02


def test_first_probes_of_few_items_start_at_once_whatever_the_interval():
    world = World()
    for name in range(BURST):
        world.add(name, DAY)
    assert len(world.take()) == BURST
    for name in range(BURST, 200):
        world.add(name, DAY)
    world.run(2.0)
    assert len(world.starts) == 200
    world.starts.clear()
    world.run(DAY)
    assert len(world.starts) == 200 - BURST  # the first ones are still under way


def test_lag_is_the_delay_of_the_last_start():
    world = World(chance=lambda: 0.5)
    world.add("a", 10.0)
    world.now += 100.0
    world.take()
    world.finish("a")
    assert world.schedule.lag == 0.0  # a first probe has no due time
    world.now = world.schedule.wake_at() + 3.0
    world.take()
    assert world.schedule.lag == 3.0


def test_no_more_than_a_burst_starts_while_the_clock_stands_still():
    world = World()
    for name in range(100):
        world.add(name, 5.0, fast=1e-9)
    taken = 0
    for _ in range(1000):
        for name in world.take():
            world.finish(name, fast=True)
            taken += 1
    assert taken <= 2 + CATCH_UP * HEADROOM * 100 / MIN_INTERVAL
    assert world.schedule.wake_at() > world.now


def test_removed_items_leave_nothing_behind():
    world = World()
    for name in range(20):
        world.add(name, DAY)
    world.run(1.0)
    for name in range(20, 1020):
        world.add(name, DAY)
        world.run(0.01)
        world.remove(name)
    assert len(world.schedule) == 20
    assert len(world.schedule._heap) <= 2 * 20 + 1


def test_removing_twice_has_no_effect():
    schedule = Schedule()
    slot = Slot("a", 1.0, 1.0, 0.0)
    schedule.remove(slot)
    schedule.add(slot, 0.0)
    schedule.remove(slot)
    schedule.remove(slot)
    assert len(schedule) == 0
    assert schedule.take(10.0) == []


intervals = st.sampled_from([0.05, 0.5, 2.0, 60.0, DAY])


class Scheduling(RuleBasedStateMachine):
    """Items that are added, removed and probed, slowly or not, by a process that may pause."""

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed):
        self.world = World(random.Random(seed).random)
        self.under_way = set()
        self.added = 0
        self.fastest = MIN_PACE
        # how many starts `the_pace_is_kept` has checked
        self.checked = 0

    @rule(count=st.integers(1, 60), interval=intervals, fast=intervals, jitter=st.sampled_from([0.0, 0.1, 1.0]))
    def add(self, count, interval, fast, jitter):
        for _ in range(count):
            self.added += 1
            self.world.add(self.added, interval, fast, jitter)
        self.note_pace()

    def note_pace(self):
        rates = [1 / (s.fast_interval if s.fast else s.interval) for s in self.world.slots.values()]
        self.fastest = max(self.fastest, HEADROOM * sum(rates))

    @precondition(lambda self: self.world.slots)
    @rule(data=st.data(), everything=st.booleans())
    def remove(self, data, everything):
        names = sorted(self.world.slots)
        for name in names if everything else data.draw(st.lists(st.sampled_from(names), unique=True)):
            self.world.remove(name)
            self.under_way.discard(name)

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.03, 0.5, 3.0, 1000.0, 2 * DAY]))
    def wait_and_take(self, seconds):
        self.world.now += seconds
        before = self.world.schedule.wake_at()
        taken = self.world.take()
        assert bool(taken) == (before is not None and before <= self.world.now)
        assert len(set(taken)) == len(taken)
        assert self.under_way.isdisjoint(taken)
        assert set(taken) <= self.world.slots.keys()
        self.under_way |= set(taken)

    @precondition(lambda self: self.under_way)
    @rule(share=st.floats(0.1, 1.0), fast=st.booleans())
    def finish(self, share, fast):
        for name in sorted(self.under_way)[: 1 + int(share * len(self.under_way))]:
            self.under_way.remove(name)
            self.world.finish(name, fast)
        self.note_pace()

    @rule()
    def finish_all_and_keep_up(self):
        """Start and finish all probes in time for a second: no item waits longer than an interval."""
        for name in sorted(self.under_way):
            self.world.finish(name)
        self.under_way.clear()
        self.note_pace()
        self.world.run(1.0)
        for slot in self.world.slots.values():
            if slot.interval <= 0.5 and slot.started:
                assert self.world.now - slot.started <= 2 * slot.interval + 0.3

    @invariant()
    def the_pace_is_kept(self):
        starts = self.world.starts
        if self.checked < len(starts):
            # only periods that end with a new start
            first = bisect_left(starts, (starts[self.checked][0] - 1.0,))
            times = [at for at, _ in starts[first:]]
            for seconds in (0.0, 0.1, 1.0):
                allowed = 2 + BURST + (seconds + CATCH_UP) * self.fastest
                assert most_at_once(times, seconds) <= allowed
            self.checked = len(starts)

    @invariant()
    def items_wait_unless_under_way(self):
        waiting = self.world.slots.keys() - self.under_way
        assert all(self.world.slots[name].waiting for name in waiting)
        assert (self.world.schedule.wake_at() is None) == (not waiting)
        assert len(self.world.schedule) == len(self.world.slots)

    @invariant()
    def the_rate_is_that_of_all_items(self):
        rates = [1 / (s.fast_interval if s.fast else s.interval) for s in self.world.slots.values()]
        assert self.world.schedule._rate == pytest.approx(sum(rates), abs=1e-6)

    def teardown(self):
        world = getattr(self, "world", None)
        if world is not None:
            for name in list(world.slots):
                world.remove(name)
            schedule = world.schedule
            assert (len(schedule), schedule._heap, len(schedule._new), schedule._rate) == (0, [], 0, 0.0)
            assert schedule.wake_at() is None


Scheduling.TestCase.settings = settings(max_examples=examples(80), stateful_step_count=30, deadline=None)
TestScheduling = Scheduling.TestCase
