import errno
from ipaddress import IPv4Address

from clusterf.ipvs.table import (
    Op,
    RealServer,
    Step,
    Table,
)
from tests.clusterf.support.left_behind import left_behind
from tests.clusterf.support.reconciling import (
    CLAIM,
    DNS,
    ONE,
    TEN,
    THREE,
    TWO,
    WEB,
    ZERO,
    busy_writing,
    settled,
    started,
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


def test_virtual_server_that_returns_before_its_removal_is_not_written():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_virtual(WEB, None)
    reconciler.want_virtual(WEB, CLAIM)
    reconciler.want_real(WEB, ONE, TEN)
    work(reconciler, kernel)
    assert kernel.writes == []


def test_virtual_server_that_is_no_longer_desired_before_it_was_added_is_not_written():
    reconciler, kernel = settled()
    reconciler.want_virtual(DNS, CLAIM)
    reconciler.want_real(DNS, ONE, TEN)
    reconciler.want_virtual(DNS, None)
    work(reconciler, kernel)
    assert kernel.writes == []


def test_removal_of_a_virtual_server_that_was_never_added_is_nothing_to_do():
    reconciler, kernel = settled({ONE: TEN})
    kernel.refused = {(Op.ADD_VIRTUAL, DNS, None): errno.EINVAL}
    reconciler.want_virtual(DNS, CLAIM)
    work(reconciler, kernel)
    kernel.writes.clear()
    reconciler.want_virtual(DNS, None)
    reconciler.retry()
    work(reconciler, kernel)
    assert kernel.writes == []
    assert DNS not in reconciler.owned
    assert not reconciler.failures


def test_nothing_is_kept_of_a_virtual_server_that_could_not_be_added():
    reconciler, kernel = started({ONE: TEN, TWO: TEN})
    kernel.refused = {(Op.ADD_VIRTUAL, WEB, None): errno.EINVAL}
    work(reconciler, kernel, limit=1)
    reconciler.want_virtual(WEB, None)
    reconciler.retry()
    work(reconciler, kernel)
    reconciler.owned.take_changes()
    assert left_behind(reconciler) == {}


def test_virtual_server_is_removed_when_its_last_real_server_has_drained():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    assert kernel.table == web({ONE: ZERO})
    reconciler.check_drains()
    work(reconciler, kernel, now=60.0)
    assert kernel.table == Table()
