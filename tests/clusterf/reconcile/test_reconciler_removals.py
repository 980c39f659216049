import errno
from ipaddress import IPv4Address

import pytest

from clusterf.ipvs.table import (
    Op,
    RealServer,
    Step,
    Table,
)
from tests.clusterf.support.reconciling import (
    CLAIM,
    DNS,
    ONE,
    RR,
    TEN,
    THREE,
    TWO,
    WEB,
    ZERO,
    busy_writing,
    settled,
    step,
    web,
    work,
)


def test_virtual_server_is_removed_in_one_step_with_all_its_real_servers():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    reconciler.want_real(WEB, ONE, None)
    reconciler.want_virtual(WEB, None)
    assert work(reconciler, kernel) == []
    assert kernel.writes == [Step(Op.REMOVE_VIRTUAL, WEB)]


def test_connections_are_counted_once_for_all_removals_in_a_part():
    many = [RealServer(IPv4Address("10.1.0.0") + n, 80) for n in range(500)]
    reconciler, kernel = settled({ONE: TEN})
    for real in many:
        reconciler.want_real(WEB, real, TEN)
    work(reconciler, kernel, limit=1000)
    for real in many:
        reconciler.want_real(WEB, real, None)
    kernel.looks = 0
    work(reconciler, kernel, limit=1000)
    assert kernel.looks == 1
    assert kernel.table == web({ONE: TEN})


def test_urgent_removal_waits_for_urgent_additions_only():
    reconciler, kernel = busy_writing()
    reconciler.want_real(WEB, ONE, None, urgent=True)
    reconciler.want_real(WEB, THREE, TEN, urgent=True)
    assert reconciler.next_steps(2, 0.0, kernel.connections) == [
        Step(Op.ADD_REAL, WEB, THREE, TEN),
        Step(Op.REMOVE_REAL, WEB, ONE),
    ]


def test_urgent_steps_are_dropped_with_their_virtual_server():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_real(WEB, ONE, ZERO, urgent=True)
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    assert kernel.writes == [Step(Op.REMOVE_VIRTUAL, WEB)]


def test_departure_is_reported_once_when_it_is_allowed():
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_virtual(WEB, None)
    assert step(reconciler, kernel, departures=False) == []
    assert step(reconciler, kernel) == [WEB]
    assert kernel.table == web({ONE: ZERO})
    reconciler.check_drains()
    assert step(reconciler, kernel, now=60.0) == []
    assert kernel.table == Table()


def test_departure_of_a_virtual_server_that_returns_in_time_is_not_reported():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_virtual(WEB, None)
    assert step(reconciler, kernel, departures=False) == []
    reconciler.want_virtual(WEB, CLAIM)
    reconciler.want_real(WEB, ONE, TEN)
    assert step(reconciler, kernel) == []
    assert kernel.writes == []


def test_virtual_server_that_returned_has_to_be_allowed_to_leave_again():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_virtual(DNS, CLAIM)
    work(reconciler, kernel)
    for virtual in (DNS, WEB):
        reconciler.want_virtual(virtual, None)
    assert reconciler.next_steps(1, 0.0, kernel.connections) == [Step(Op.REMOVE_VIRTUAL, DNS)]
    assert reconciler.owned.take_departed() == [DNS]
    for claim in (CLAIM, None):
        reconciler.want_virtual(WEB, claim)
    assert step(reconciler, kernel, departures=False) == []
    assert WEB in kernel.table.virtuals


def test_departure_of_a_virtual_server_that_was_never_added_and_returns_is_not_reported():
    reconciler, kernel = settled({ONE: TEN})
    for claim in (CLAIM, None, CLAIM):
        reconciler.want_virtual(DNS, claim)
    reconciler.observe(kernel.read())
    assert reconciler.owned.take_departed() == []


def test_departure_of_a_virtual_server_that_was_never_added_needs_no_permission():
    reconciler, kernel = settled({ONE: TEN})
    kernel.refused = {(Op.ADD_VIRTUAL, DNS, None): errno.EINVAL}
    reconciler.want_virtual(DNS, CLAIM)
    work(reconciler, kernel)
    for virtual in (WEB, DNS):
        reconciler.want_virtual(virtual, None)
    assert step(reconciler, kernel, departures=False) == [DNS]
    assert reconciler.leaving == 1


@pytest.mark.parametrize("there", [True, False])
def test_departure_of_a_virtual_server_that_was_never_ours_is_reported_when_the_table_is_read(there):
    reconciler, kernel = settled({ONE: TEN})
    kernel.table.put_virtual(DNS, RR)
    reconciler.observe(kernel.read())
    reconciler.want_virtual(DNS, CLAIM)
    reconciler.want_virtual(DNS, None)
    reconciler.observe(kernel.read() if there else web({ONE: TEN}))
    assert reconciler.owned.take_departed() == [DNS]


def test_departure_is_reported_when_the_virtual_server_is_removed_from_outside():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_virtual(WEB, None)
    assert step(reconciler, kernel, departures=False) == []
    reconciler.observe(Table())
    assert reconciler.owned.take_departed() == [WEB]


def test_virtual_server_with_a_drain_is_not_removed_without_permission():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    reconciler.want_virtual(WEB, None)
    assert reconciler.leaving == 1
    for _ in range(3):
        reconciler.check_drains()
        assert step(reconciler, kernel, departures=False, now=60.0) == []
    assert kernel.table == web({ONE: ZERO, TWO: TEN})
    assert step(reconciler, kernel, now=60.0) == [WEB]
    assert kernel.table == Table()
