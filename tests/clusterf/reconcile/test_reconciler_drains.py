import errno

import msgspec
import pytest

from clusterf.ipvs.table import (
    Method,
    Op,
    RealServerSettings,
    Step,
    Table,
    Tunnel,
    TunnelType,
    VirtualServerSpec,
)
from tests.clusterf.support.reconciling import (
    CLAIM,
    DNS,
    FIVE,
    MARK,
    ONE,
    ONE_PACKET,
    RR,
    TEN,
    THREE,
    TWO,
    WEB,
    WLC,
    ZERO,
    busy_writing,
    settled,
    started,
    web,
    work,
)


@pytest.mark.parametrize(
    ("virtual", "settings", "timeout", "active", "drains"),
    [
        (WEB, WLC, 30.0, 1, True),
        (WEB, WLC, 30.0, 0, False),
        (WEB, WLC, 0.0, 1, False),
        (DNS, WLC, 30.0, 1, False),
        (DNS, ONE_PACKET, 30.0, 1, False),
        (MARK, WLC, 30.0, 1, True),
        (MARK, ONE_PACKET, 30.0, 1, False),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_real_server_that_leaves_drains_if_it_has_connections(virtual, settings, timeout, active, drains, whole):
    reconciler, kernel = settled({ONE: TEN, TWO: TEN}, virtual=virtual, claim=VirtualServerSpec(settings, timeout))
    kernel.active[virtual, ONE] = active
    if whole:
        reconciler.want_virtual(virtual, None)
    else:
        reconciler.want_real(virtual, ONE, None)
    work(reconciler, kernel, now=0.0)
    left = {} if whole else {TWO: TEN}
    assert kernel.table.reals.get(virtual, {}) == left | ({ONE: ZERO} if drains else {})
    assert bool(reconciler.draining) == drains
    reconciler.check_drains()
    work(reconciler, kernel, now=29.9)
    assert (ONE in kernel.table.reals.get(virtual, ())) == drains
    reconciler.check_drains()
    work(reconciler, kernel, now=30.0)
    assert kernel.table.reals == ({} if whole else {virtual: {TWO: TEN}})
    assert not reconciler.draining


def test_drained_real_server_is_removed_as_soon_as_it_has_no_connection():
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    kernel.active.clear()
    reconciler.check_drains()
    work(reconciler, kernel, now=1.0)
    assert kernel.table == web({})


@pytest.mark.parametrize("whole", [False, True])
def test_drain_ends_when_the_real_server_was_removed_from_outside(whole):
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    assert reconciler.draining
    if whole:
        kernel.table.put_virtual(WEB, None)
        kernel.refused = {(Op.ADD_VIRTUAL, WEB, None): errno.ENOMEM}
    else:
        kernel.table.put_real(WEB, ONE, None)
    reconciler.observe(kernel.read())
    reconciler.check_drains()
    work(reconciler, kernel)
    assert not reconciler.draining


def test_real_server_that_returns_gets_its_weight_back_and_its_next_drain_the_full_time():
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    for now in (0.0, 100.0):
        reconciler.want_real(WEB, ONE, None)
        work(reconciler, kernel, now=now)
        assert kernel.table == web({ONE: ZERO})
        reconciler.want_real(WEB, ONE, TEN)
        assert not reconciler.draining
        work(reconciler, kernel, now=now)
        assert kernel.table == web({ONE: TEN})


def test_real_server_that_returns_while_it_drains_is_written_once():
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    reconciler.want_real(WEB, ONE, FIVE)
    for now in (1.0, 100.0):
        reconciler.check_drains()
        work(reconciler, kernel, now=now)
    assert kernel.writes == [Step(Op.EDIT_REAL, WEB, ONE, ZERO), Step(Op.EDIT_REAL, WEB, ONE, FIVE)]


@pytest.mark.parametrize("settings", [TEN, RealServerSettings(Method.TUNNEL, 10, 9, 3, Tunnel(TunnelType.GUE, 6080))])
def test_drain_changes_the_weight_only_and_is_repaired(settings):
    reconciler, kernel = settled({ONE: settings})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    drained = msgspec.structs.replace(settings, weight=0)
    assert kernel.table == web({ONE: drained})
    kernel.table.put_real(WEB, ONE, settings)
    reconciler.observe(kernel.read())
    work(reconciler, kernel, now=1.0)
    assert kernel.table == web({ONE: drained})


@pytest.mark.parametrize(("before", "after", "end"), [(30.0, 60.0, 60.0), (30.0, 10.0, 10.0), (30.0, 0.0, 5.0)])
@pytest.mark.parametrize("back", [True, False])
def test_new_drain_timeout_counts_for_running_drains(before, after, end, back):
    reconciler, kernel = settled({ONE: TEN, TWO: TEN}, claim=VirtualServerSpec(WLC, before))
    kernel.active[WEB, ONE] = 1
    if back:
        reconciler.want_virtual(WEB, None)
    else:
        reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel, now=0.0)
    reconciler.want_virtual(WEB, VirtualServerSpec(WLC, after))
    reconciler.want_real(WEB, TWO, TEN)
    for now, there in ((5.0, end > 5.0), (end - 0.1, end > 5.0), (end, False)):
        reconciler.check_drains()
        work(reconciler, kernel, now=now)
        assert kernel.table == web({TWO: TEN} | ({ONE: ZERO} if there else {}))


def test_virtual_server_that_returns_gets_its_weights_back_while_a_removed_real_server_drains_on():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.active = {(WEB, ONE): 1, (WEB, TWO): 1}
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    kernel.writes.clear()
    reconciler.want_virtual(WEB, CLAIM)
    reconciler.want_real(WEB, ONE, TEN)
    work(reconciler, kernel, now=20.0)
    assert kernel.writes == [Step(Op.EDIT_REAL, WEB, ONE, TEN)]
    reconciler.check_drains()
    work(reconciler, kernel, now=30.0)
    assert kernel.table == web({ONE: TEN})


def test_real_servers_of_a_service_that_takes_over_are_added_before_the_old_ones_drain():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_virtual(WEB, VirtualServerSpec(RR, 5.0))
    for real, wanted in ((ONE, None), (TWO, None), (THREE, FIVE)):
        reconciler.want_real(WEB, real, wanted)
    work(reconciler, kernel)
    assert kernel.writes == [
        Step(Op.EDIT_VIRTUAL, WEB, None, RR),
        Step(Op.ADD_REAL, WEB, THREE, FIVE),
        Step(Op.EDIT_REAL, WEB, ONE, ZERO),
        Step(Op.REMOVE_REAL, WEB, TWO),
    ]
    reconciler.check_drains()
    work(reconciler, kernel, now=5.0)
    assert kernel.table == web({THREE: FIVE}, RR)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("arrives", [False, True])
def test_connection_that_arrives_before_the_removal_is_not_cut(whole, arrives):
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.inactive[WEB, ONE] = 1
    if whole:
        reconciler.want_virtual(WEB, None)
    else:
        reconciler.want_real(WEB, ONE, None)
    reconciler.done(steps := reconciler.next_steps(100, 0.0, kernel.connections), kernel.apply(steps))
    assert kernel.table.reals[WEB][ONE] == ZERO
    kernel.active[WEB, ONE] = int(arrives)
    work(reconciler, kernel)
    assert (ONE in kernel.table.reals.get(WEB, ())) == arrives
    reconciler.check_drains()
    work(reconciler, kernel, now=30.0)
    assert kernel.table == (Table() if whole else web({TWO: TEN}))


@pytest.mark.parametrize(
    ("virtual", "claim"),
    [(DNS, CLAIM), (MARK, VirtualServerSpec(ONE_PACKET, 30.0)), (WEB, VirtualServerSpec(WLC, 0.0))],
)
def test_real_server_that_does_not_drain_is_removed_in_one_step(virtual, claim):
    reconciler, kernel = settled({ONE: TEN}, virtual=virtual, claim=claim)
    kernel.inactive[virtual, ONE] = kernel.active[virtual, ONE] = 1
    reconciler.want_real(virtual, ONE, None)
    work(reconciler, kernel)
    assert kernel.writes == [Step(Op.REMOVE_REAL, virtual, ONE)]


def test_recorded_drain_timeout_counts_for_a_service_that_left_before_the_start():
    left = web({ONE: TEN})
    reconciler, kernel = started(virtual=DNS, owned={WEB: 90.0}, kernel_table=left)
    kernel.active[WEB, ONE] = 1
    for now, there in ((0.0, True), (89.9, True), (90.0, False)):
        reconciler.check_drains()
        work(reconciler, kernel, now=now)
        assert (WEB in kernel.table.virtuals) == there


@pytest.mark.parametrize("gone", [ONE, None])
def test_drain_ends_when_the_server_is_removed_from_outside(gone):
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    kernel.apply([Step(Op.REMOVE_REAL if gone else Op.REMOVE_VIRTUAL, WEB, gone)])
    reconciler.observe(kernel.read())
    reconciler.check_drains()
    work(reconciler, kernel)
    assert not reconciler.draining
    assert kernel.table == Table()


def test_urgent_removal_drains():
    reconciler, kernel = busy_writing(0)
    kernel.active[WEB, ONE] = 3
    reconciler.want_real(WEB, ONE, None, urgent=True)
    assert not reconciler.idle
    work(reconciler, kernel)
    assert kernel.writes == [Step(Op.EDIT_REAL, WEB, ONE, ZERO)]
    kernel.active.clear()
    reconciler.check_drains()
    work(reconciler, kernel)
    assert kernel.table == web({TWO: TEN})
