import errno

import pytest

from clusterf.ipvs.table import (
    Op,
    Step,
    VirtualServerSpec,
)
from tests.clusterf.support.reconciling import (
    CLAIM,
    DNS,
    FIVE,
    FOREIGN,
    FOUR,
    ONE,
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


def test_virtual_server_and_its_real_servers_are_added_in_one_part():
    reconciler, kernel = started({ONE: TEN, TWO: FIVE})
    assert reconciler.next_steps(3, 0.0, kernel.connections) == [
        Step(Op.ADD_VIRTUAL, WEB, None, WLC),
        Step(Op.ADD_REAL, WEB, ONE, TEN),
        Step(Op.ADD_REAL, WEB, TWO, FIVE),
    ]


def test_empty_kernel_gets_the_desired_table():
    reconciler, kernel = started({ONE: TEN, TWO: FIVE})
    assert work(reconciler, kernel) == []
    assert kernel.table == web({ONE: TEN, TWO: FIVE})
    assert reconciler.owned.take_changes() == {WEB: 30.0}


def test_kernel_that_has_the_desired_table_is_not_written():
    reconciler, kernel = started({ONE: TEN}, kernel_table=web({ONE: TEN}))
    assert reconciler.idle
    assert work(reconciler, kernel) == []
    assert kernel.writes == []


def test_differences_are_edited_and_additions_come_before_removals():
    reconciler, kernel = started({TWO: TEN, THREE: FIVE}, kernel_table=web({ONE: TEN, THREE: TEN}, RR))
    work(reconciler, kernel)
    changes, removal = kernel.writes[:-1], kernel.writes[-1]
    assert removal == Step(Op.REMOVE_REAL, WEB, ONE)
    assert sorted(changes, key=str) == [
        Step(Op.ADD_REAL, WEB, TWO, TEN),
        Step(Op.EDIT_REAL, WEB, THREE, FIVE),
        Step(Op.EDIT_VIRTUAL, WEB, None, WLC),
    ]


def test_drift_is_returned_and_repaired():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.table.put_virtual(FOREIGN, RR)
    kernel.table.put_real(WEB, ONE, ZERO)
    kernel.table.put_real(WEB, THREE, TEN)
    undone = reconciler.observe(kernel.read())
    assert undone == [Step(Op.EDIT_REAL, WEB, ONE, TEN), Step(Op.REMOVE_REAL, WEB, THREE)]
    work(reconciler, kernel)
    assert kernel.table.reals == {WEB: {ONE: TEN, TWO: TEN}, FOREIGN: {}}


@pytest.mark.parametrize("draining", [(ONE, TWO, THREE), (THREE,), (FOUR,)])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_part_is_longer_than_its_limit(limit, draining):
    reconciler, kernel = settled({ONE: TEN, TWO: TEN, THREE: TEN, FOUR: TEN})
    kernel.active = {(WEB, real): 1 for real in draining}
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel, limit=limit)
    assert kernel.table == web(dict.fromkeys(draining, ZERO))


def test_urgent_steps_are_written_in_parts_that_are_no_longer_than_their_limit():
    reconciler, kernel = busy_writing()
    for real in (ONE, TWO, THREE):
        reconciler.want_real(WEB, real, FIVE, urgent=True)
    parts = [reconciler.next_steps(2, 0.0, kernel.connections) for _ in range(2)]
    assert [step.real for step in parts[0]] == [THREE, TWO], "the newest first"
    assert parts[1][0] == Step(Op.EDIT_REAL, WEB, ONE, FIVE)


def test_real_servers_are_added_at_once_when_new_settings_make_their_virtual_server_possible():
    reconciler, kernel = started({ONE: TEN, TWO: TEN})
    kernel.refused = {(Op.ADD_VIRTUAL, WEB, None): errno.EINVAL}
    work(reconciler, kernel, limit=1)
    kernel.refused = {}
    reconciler.want_virtual(WEB, VirtualServerSpec(RR, 30.0))
    work(reconciler, kernel, limit=1)
    assert kernel.table == web({ONE: TEN, TWO: TEN}, RR)


def test_urgent_steps_are_written_first():
    reconciler, kernel = busy_writing()
    reconciler.want_real(WEB, ONE, ZERO, urgent=True)
    steps = reconciler.next_steps(5, 0.0, kernel.connections)
    assert len(steps) == 5
    assert steps[0] == Step(Op.EDIT_REAL, WEB, ONE, ZERO)


@pytest.mark.parametrize("first", [True, False])
def test_real_server_that_is_urgent_and_queued_is_written_once(first):
    reconciler, kernel = busy_writing()
    reconciler.want_real(WEB, THREE, TEN, urgent=first)
    reconciler.want_real(WEB, THREE, FIVE, urgent=not first)
    steps = reconciler.next_steps(100, 0.0, kernel.connections)
    assert steps[0] == Step(Op.ADD_REAL, WEB, THREE, FIVE)
    assert len(steps) == 21


def test_urgent_steps_stay_urgent_when_the_table_is_read():
    reconciler, kernel = busy_writing()
    reconciler.want_real(WEB, ONE, ZERO, urgent=True)
    reconciler.observe(kernel.read())
    assert reconciler.next_steps(1, 0.0, kernel.connections) == [Step(Op.EDIT_REAL, WEB, ONE, ZERO)]


def test_urgent_real_server_waits_for_its_missing_virtual_server():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_virtual(DNS, CLAIM)
    reconciler.want_real(DNS, ONE, ZERO, urgent=True)
    work(reconciler, kernel, limit=1)
    assert kernel.table.reals[DNS] == {ONE: ZERO}
