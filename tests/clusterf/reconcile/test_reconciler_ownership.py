import pytest

from clusterf.ipvs.table import (
    Op,
    Step,
    Table,
    VirtualServerSpec,
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
    WLC,
    settled,
    started,
    web,
    work,
)


def test_ownership_is_reported_before_the_virtual_server_is_added():
    reconciler, kernel = started()
    steps = reconciler.next_steps(100, 0.0, kernel.connections)
    assert steps == [Step(Op.ADD_VIRTUAL, WEB, None, WLC)]
    assert reconciler.owned.take_changes() == {WEB: 30.0}
    assert reconciler.owned.take_changes() == {}


@pytest.mark.parametrize(("owned", "goes"), [({WEB: 30.0}, True), ({}, False)])
def test_undesired_virtual_server_is_removed_only_if_it_is_ours(owned, goes):
    reconciler, kernel = started(virtual=DNS, kernel_table=web({ONE: TEN}), owned=owned)
    work(reconciler, kernel)
    assert (WEB not in kernel.table.virtuals) == goes
    assert reconciler.owned.take_changes() == {DNS: 30.0} | ({WEB: None} if goes else {})


def test_existing_virtual_server_becomes_ours_when_it_is_desired():
    reconciler, kernel = settled(virtual=DNS, kernel_table=web({ONE: TEN}))
    reconciler.want_virtual(WEB, CLAIM)
    work(reconciler, kernel)
    assert reconciler.owned.take_changes() == {WEB: 30.0}
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    assert WEB not in kernel.table.virtuals


def test_virtual_server_that_is_found_as_it_is_desired_is_ours():
    reconciler, kernel = started({ONE: TEN}, kernel_table=web({ONE: TEN}))
    assert reconciler.owned.take_changes() == {WEB: 30.0}
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    assert kernel.table == Table()


def test_real_servers_of_an_existing_virtual_server_that_becomes_desired_are_removed_unless_they_are_desired():
    reconciler, kernel = settled(virtual=DNS, kernel_table=web({ONE: TEN, TWO: TEN, THREE: TEN}))
    reconciler.want_virtual(WEB, CLAIM)
    reconciler.want_real(WEB, TWO, TEN)
    work(reconciler, kernel)
    assert kernel.table.reals[WEB] == {TWO: TEN}
    assert kernel.writes == [Step(Op.REMOVE_REAL, WEB, real) for real in (ONE, THREE)]


def test_virtual_server_removed_from_outside_is_no_longer_ours():
    reconciler, kernel = started(virtual=DNS, owned={WEB: 30.0})
    assert reconciler.owned.take_changes() == {WEB: None}
    kernel.table.put_virtual(WEB, RR)
    reconciler.observe(kernel.read())
    work(reconciler, kernel)
    assert kernel.table.virtuals[WEB] == RR


def test_drain_timeout_is_recorded_only_when_it_changes():
    reconciler, _ = settled({ONE: TEN}, claim=VirtualServerSpec(WLC, 60.0))
    reconciler.want_virtual(WEB, VirtualServerSpec(RR, 60.0))
    assert reconciler.owned.take_changes() == {}
    reconciler.want_virtual(WEB, VirtualServerSpec(RR, 0.0))
    assert reconciler.owned.take_changes() == {WEB: 0.0}
    reconciler.want_virtual(DNS, VirtualServerSpec(RR, 5.0))
    assert reconciler.owned.take_changes() == {}  # before it is ours
