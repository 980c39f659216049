import errno

import pytest

from clusterf.ipvs.table import (
    Op,
    Step,
    TableKey,
)
from clusterf.reconcile.failures import Failure
from tests.clusterf.support.reconciling import (
    FIVE,
    ONE,
    TEN,
    THREE,
    TWO,
    WEB,
    WLC,
    ZERO,
    settled,
    started,
    web,
    work,
)


@pytest.mark.parametrize("error", [errno.EEXIST, errno.ENOENT, errno.ESRCH])
def test_step_that_finds_another_table_has_it_read_again_at_once(error):
    reconciler, kernel = started({ONE: TEN, TWO: TEN})
    kernel.faults = [0, error]
    assert [failure.error for failure in work(reconciler, kernel)] == [error]
    assert kernel.table == web({ONE: TEN, TWO: TEN})
    assert not reconciler.failures


@pytest.mark.parametrize("error", [errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ENOMEM])
def test_step_that_always_fails_is_retried_while_the_others_are_done(error):
    reconciler, kernel = started({ONE: TEN, TWO: TEN})
    step = Step(Op.ADD_REAL, WEB, ONE, TEN)
    kernel.refused = {(Op.ADD_REAL, WEB, ONE): error}
    for _ in range(3):
        failures = work(reconciler, kernel)
        assert failures
        assert set(failures) == {Failure(step, error)}
        assert reconciler.failures.waiting == {TableKey(WEB, ONE): error}
        assert kernel.table == web({TWO: TEN})
        reconciler.retry()
    kernel.refused = {}
    work(reconciler, kernel)
    assert kernel.table == web({ONE: TEN, TWO: TEN})
    assert not reconciler.failures


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_failed_virtual_server_is_reported_without_its_real_servers(limit):
    reconciler, kernel = started({ONE: TEN, TWO: TEN})
    kernel.refused = {(Op.ADD_VIRTUAL, WEB, None): errno.ENOMEM}
    assert work(reconciler, kernel, limit=limit) == [Failure(Step(Op.ADD_VIRTUAL, WEB, None, WLC), errno.ENOMEM)]
    kernel.refused = {}
    reconciler.retry()
    assert work(reconciler, kernel, limit=limit) == []
    assert kernel.table == web({ONE: TEN, TWO: TEN})


@pytest.mark.parametrize(("kept", "goes"), [({}, False), ({TWO: TEN}, True), ({TWO: ZERO}, False)])
def test_last_serving_real_servers_stay_while_their_replacements_fail(kept, goes):
    reconciler, kernel = settled({ONE: TEN} | kept)
    kernel.refused = {(Op.ADD_REAL, WEB, THREE): errno.ENOMEM}
    reconciler.want_real(WEB, THREE, TEN)
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    assert (ONE not in kernel.table.reals[WEB]) == goes
    kernel.refused = {}
    reconciler.retry()
    work(reconciler, kernel)
    assert kernel.table == web(kept | {THREE: TEN})


def test_real_servers_found_by_rereading_a_virtual_server_are_removed():
    reconciler, kernel = settled({ONE: TEN})
    kernel.table.put_real(WEB, TWO, TEN)
    kernel.table.put_real(WEB, THREE, TEN)
    reconciler.want_real(WEB, TWO, FIVE)
    assert [failure.error for failure in work(reconciler, kernel)] == [errno.EEXIST]
    assert kernel.table == web({ONE: TEN, TWO: FIVE})


def test_virtual_server_that_is_found_missing_by_rereading_it_is_added_with_all_its_real_servers():
    reconciler, kernel = settled({ONE: TEN})
    kernel.table.put_virtual(WEB, None)
    reconciler.want_real(WEB, TWO, TEN)
    assert [failure.error for failure in work(reconciler, kernel)] == [errno.ESRCH]
    assert kernel.table == web({ONE: TEN, TWO: TEN})


def test_no_failure_is_left_once_the_whole_table_was_read():
    reconciler, kernel = settled()
    kernel.faults = [errno.ENOMEM, errno.EEXIST]
    for real in (ONE, TWO):
        reconciler.want_real(WEB, real, TEN)
    steps = reconciler.next_steps(2, 0.0, kernel.connections)
    reconciler.done(steps, kernel.apply(steps))
    assert (list(reconciler.failures.waiting), list(reconciler.failures.stale)) == ([TableKey(WEB, ONE)], [WEB])
    reconciler.observe(kernel.read())
    assert not reconciler.failures
    assert not reconciler.failures.stale
    work(reconciler, kernel)
    assert kernel.table == web({ONE: TEN, TWO: TEN})


def test_nothing_is_written_to_a_virtual_server_before_it_is_read_again():
    reconciler, kernel = settled({ONE: TEN})
    kernel.faults = [errno.EEXIST]
    reconciler.want_real(WEB, TWO, TEN)
    steps = reconciler.next_steps(1, 0.0, kernel.connections)
    reconciler.done(steps, kernel.apply(steps))
    reconciler.want_real(WEB, THREE, TEN)
    reconciler.want_real(WEB, ONE, None)
    assert reconciler.next_steps(9, 0.0, kernel.connections) == []
    work(reconciler, kernel)
    assert kernel.table == web({TWO: TEN, THREE: TEN})


def test_retry_may_read_the_virtual_server_again():
    reconciler, kernel = started({ONE: TEN})
    kernel.refused = {(Op.ADD_REAL, WEB, ONE): errno.EEXIST}
    work(reconciler, kernel)
    kernel.refused = {}
    kernel.table.put_real(WEB, ONE, ZERO)
    reconciler.retry()
    work(reconciler, kernel)
    assert kernel.table == web({ONE: TEN})


def test_failed_removal_waits_for_the_retry_and_ignores_drain_checks():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    kernel.refused = {(Op.REMOVE_REAL, WEB, ONE): errno.ENOMEM}
    reconciler.check_drains()
    assert len(work(reconciler, kernel, now=60.0)) == 1
    reconciler.check_drains()
    assert work(reconciler, kernel, now=61.0) == []
    reconciler.retry()
    kernel.refused = {}
    work(reconciler, kernel, now=62.0)
    assert kernel.table == web({TWO: TEN})
