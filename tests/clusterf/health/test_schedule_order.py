"""Which probe starts first, how fast starts follow each other, and what removed items leave behind."""

from itertools import pairwise

import pytest

from clusterf.health.schedule import BURST, CATCH_UP, HEADROOM, MIN_PACE, Schedule, Slot

NOW = 1000.0


def make_schedule(count, interval=60.0, fast=1.0):
    """Return a schedule whose items are numbers, and their slots."""
    schedule = Schedule(lambda: 0.5)
    slots = [Slot(number, interval, fast, 0.0) for number in range(count)]
    for slot in slots:
        schedule.add(slot, NOW)
    return schedule, slots


def take_all(schedule, count, now=NOW):
    """Take that many items, each as soon as the pace allows, and return them."""
    taken = []
    while len(taken) < count:
        now = max(now, schedule.wake_at())
        taken += schedule.take(now)
    return taken


def starts(schedule, slots, count, fast):
    """Return when that many probes start, which take no time."""
    found = []
    while len(found) < count:
        now = schedule.wake_at()
        taken = schedule.take(now)
        found += [now] * len(taken)
        for number in taken:
            schedule.finished(slots[number], now, fast=fast)
    return found


def test_new_items_start_in_the_order_in_which_they_were_added():
    schedule, _ = make_schedule(50)
    assert take_all(schedule, 50) == list(range(50))


def test_items_due_at_the_same_time_start_in_the_order_in_which_they_were_added():
    schedule, slots = make_schedule(10)
    take_all(schedule, 10)
    for slot in reversed(slots):
        schedule.finished(slot, NOW, fast=True)
    assert take_all(schedule, 10, NOW + 1.0) == list(range(10))


def test_pace_is_twice_the_rate_also_when_all_items_are_probed_at_the_fast_interval():
    schedule, slots = make_schedule(1000)
    assert 1000 / 60.0 * HEADROOM < MIN_PACE
    # the first probes are at the least pace, which is raised with each that fails
    take_all(schedule, 1000)
    for slot in slots:
        schedule.finished(slot, NOW + 20.0, fast=True)
    found = starts(schedule, slots, 1000, fast=True)
    # all are due at once, a thousand a second on average
    assert found[-1] - found[0] == pytest.approx(1000 / (HEADROOM * 1000) - CATCH_UP, abs=0.002)
    for slot in slots:
        schedule.remove(slot)
    assert len(schedule) == 0


def test_pace_falls_again_when_items_return_to_their_interval():
    schedule, slots = make_schedule(1000)
    for fast in (True, False):
        take_all(schedule, 1000, NOW + 100.0)
        for slot in slots:
            schedule.finished(slot, NOW + 100.0, fast=fast)
    assert schedule._pace() == pytest.approx(make_schedule(1000)[0]._pace())


def test_burst_of_few_items_is_as_large_as_promised_and_no_larger():
    schedule, _ = make_schedule(100)
    assert len(schedule.take(NOW)) == BURST == 20


def test_pace_has_headroom_of_twice_the_rate():
    assert HEADROOM == 2.0


def test_removed_items_never_start_and_the_others_start_in_order():
    schedule, slots = make_schedule(200)
    take_all(schedule, 200)
    # (due in another order than they were added)
    for slot in slots:
        schedule.finished(slot, NOW + slot.item * 37 % 200, fast=True)
    for slot in slots:
        if slot.item % 3:
            schedule.remove(slot)
    found, now = [], NOW
    while (at := schedule.wake_at()) is not None:
        now = max(now, at)
        found += [(now - schedule.lag, number) for number in schedule.take(now)]
    assert sorted(number for _, number in found) == [number for number in range(200) if number % 3 == 0]
    assert all(before <= after for (before, _), (after, _) in pairwise(found))
    assert schedule._gone == 0


def test_item_removed_while_its_probe_is_under_way_is_not_counted_twice():
    schedule, slots = make_schedule(3)
    assert schedule.take(NOW) == [0, 1, 2]
    schedule.remove(slots[0])
    schedule.remove(slots[0])
    assert len(schedule) == 2
    assert schedule._gone == 0


def test_jitter_comes_after_the_cell_begins_also_when_cells_were_skipped():
    schedule = Schedule(lambda: 0.5)
    slot = Slot("a", 10.0, 10.0, 0.2)
    schedule.add(slot, NOW)
    schedule.take(NOW)
    schedule.finished(slot, NOW + 42.0, fast=False)
    # the grid is at 1005, 1015, …; half of the jitter of 2 seconds
    assert schedule.wake_at() == pytest.approx(NOW + 46.0)
