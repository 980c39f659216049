import errno

import pytest
from hypothesis import given

from clusterf.ipvs.diff import diff
from clusterf.ipvs.shadow import ShadowKernel
from clusterf.ipvs.table import Method, Op, RealServerSettings, Step, Table, table_of
from clusterf.lib.addresses import Family
from tests.clusterf.support.kernel_refusals import GONE, OTHER, REAL, REFUSALS, SETTINGS, TABLE, TEN, WEB
from tests.clusterf.support.strategies import tables


@pytest.fixture
def kernel():
    return ShadowKernel(table_of([(WEB, SETTINGS, {REAL: TEN})]))


@pytest.mark.parametrize(("step", "error"), REFUSALS)
def test_shadow_refuses_what_the_kernel_refuses(step, error):
    kernel = ShadowKernel(TABLE.copy())
    assert kernel.apply([step]) == [error]
    assert kernel.read() == TABLE


def test_failed_step_does_not_stop_the_steps_after_it(kernel):
    steps = [Step(Op.REMOVE_REAL, WEB, OTHER), Step(Op.REMOVE_REAL, WEB, REAL), Step(Op.ADD_REAL, WEB, OTHER, TEN)]
    assert kernel.apply(steps) == [errno.ENOENT, 0, 0]
    assert kernel.read() == table_of([(WEB, SETTINGS, {OTHER: TEN})])


def test_table_that_was_read_is_a_copy(kernel):
    kernel.read().put_virtual(WEB, None)
    kernel.read_virtuals().clear()
    kernel.read_virtual(WEB)[1].clear()
    assert kernel.read() == table_of([(WEB, SETTINGS, {REAL: TEN})])


def test_virtual_server_is_read_with_its_real_servers(kernel):
    assert kernel.read_virtual(WEB) == (SETTINGS, {REAL: TEN})
    assert kernel.read_virtual(GONE) is None
    assert kernel.read_virtuals() == {WEB: SETTINGS}


def test_shadow_has_no_connections_and_can_be_flushed(kernel):
    assert kernel.connections(WEB) == {}
    kernel.flush()
    kernel.close()
    assert kernel.read() == Table()


def possible(table):
    """Return the table without what the kernel would refuse: another family needs a tunnel."""
    for virtual, reals in table.reals.items():
        for real in [real for real in reals if Family.of(real.address) is not virtual.family]:
            reals[real] = RealServerSettings(Method.TUNNEL, reals[real].weight)
    return table


@given(tables.map(possible), tables.map(possible))
def test_shadow_takes_every_difference_without_an_error(desired, actual):
    kernel = ShadowKernel(actual.copy())
    steps = list(diff(desired, actual))
    assert kernel.apply(steps) == [0] * len(steps)
    assert kernel.read() == desired
