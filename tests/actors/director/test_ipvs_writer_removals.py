import errno

from actors.base.messages import Confirm, Reload
from clusterf.director.merger import RealServerWanted
from clusterf.lib.store import Store
from clusterf.reconcile.ownership import Ownership
from tests.actors.support.writing import (
    TWELVE,
    gone,
    real,
    table,
    virtual,
    weighing,
)
from tests.waiting import wait_until


def test_removal_of_most_virtual_servers_is_held_until_it_is_confirmed(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*gone(*range(1, 10)), v12={1: 5}, v13={1: 1})
    wait_until(lambda: "9 of 12 virtual servers would be removed at once: held" in caplog.text)
    assert kernel.table == table(**TWELVE | {"v12": {1: 5}, "v13": {1: 1}})
    writing.ref.tell(Confirm())
    wait_until(lambda: kernel.table == table(v10={1: 1}, v11={1: 1}, v12={1: 5}, v13={1: 1}))
    assert "no longer held" in caplog.text


def test_verdicts_do_not_count_as_changes_of_the_configuration(writing):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    last = writing.actor._hold._changed
    writing.want(RealServerWanted(virtual(1), real(1), weighing(0)), urgent=True).settled()
    assert writing.actor._hold._changed == last
    writing.want(v1={1: 2}).settled()
    assert writing.actor._hold._changed > last


def test_removal_of_real_servers_by_health_is_not_held(writing, kernel):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*(RealServerWanted(virtual(n), real(1), None) for n in range(1, 13)), urgent=True)
    wait_until(lambda: kernel.table == table(**{name: {} for name in TWELVE}))


def test_virtual_servers_are_removed_after_the_hold(writing, kernel):
    writing.start(removal_hold=0.5).want(**TWELVE).settled()
    writing.want(*gone(*range(1, 13)))
    wait_until(lambda: not kernel.table.virtuals)


def test_virtual_servers_restored_within_the_hold_are_never_removed(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    steps = len(kernel.steps)
    writing.want(*gone(*range(1, 13)))
    wait_until(lambda: "held" in caplog.text)
    writing.want(**TWELVE).settled()
    assert kernel.table == table(**TWELVE)
    assert len(kernel.steps) == steps


def test_removal_is_reported_upstream_when_it_begins(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*gone(1))
    wait_until(lambda: virtual(1) not in kernel.table.virtuals)
    assert writing.departed == [virtual(1)]
    writing.want(*gone(*range(2, 13)))
    wait_until(lambda: "held" in caplog.text)
    writing.want(**{name: reals for name, reals in TWELVE.items() if name in {"v2", "v3"}})
    writing.ref.tell(Reload())
    writing.ref.tell(Confirm())
    wait_until(lambda: kernel.table == table(v2={1: 1}, v3={1: 1}))
    assert sorted(writing.departed, key=str) == sorted(map(virtual, [1, *range(4, 13)]), key=str)


def test_removal_of_a_virtual_server_that_the_kernel_refused_is_reported_upstream(writing, kernel, caplog):
    kernel.refused[virtual(13)] = errno.EINVAL
    writing.start(removal_hold=1000.0).want(**TWELVE, v13={1: 1})
    wait_until(lambda: "failed" in caplog.text)
    writing.want(*gone(*range(1, 14)))
    wait_until(lambda: "held" in caplog.text)
    assert wait_until(lambda: writing.departed) == [virtual(13)]


def test_large_removal_that_arrives_in_parts_is_held_as_a_whole(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    for number in range(1, 13):
        writing.want(*gone(number))
    wait_until(lambda: "12 of 12 virtual servers would be removed at once" in caplog.text)
    assert kernel.table == table(**TWELVE)


def test_few_virtual_servers_are_removed_without_a_hold(writing, kernel):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*gone(1, 2))
    wait_until(lambda: virtual(1) not in kernel.table.virtuals)
    assert len(kernel.table) == 10


def test_removals_are_held_at_a_start_on_an_empty_configuration(writing, kernel, caplog):
    Ownership(Store(writing.path)).record({virtual(number): 30.0 for number in range(1, 13)})
    kernel.table = table(**TWELVE)
    writing.start(removal_hold=1000.0).want()
    wait_until(lambda: "12 of 12 virtual servers would be removed at once" in caplog.text)
    assert kernel.table == table(**TWELVE)


def test_few_removals_do_not_wait_for_the_end_of_an_earlier_hold(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*gone(*range(1, 13)))
    wait_until(lambda: "held" in caplog.text)
    writing.want(**TWELVE).settled()
    writing.want(*gone(1))
    wait_until(lambda: virtual(1) not in kernel.table.virtuals)
