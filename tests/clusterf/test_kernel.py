import errno
from ipaddress import IPv4Address

import pytest
from hypothesis import given

from clusterf.diff import diff
from clusterf.kernel import ShadowKernel
from clusterf.table import (
    Family,
    Method,
    Op,
    Protocol,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    VirtualServer,
    VirtualServerSettings,
    table_of,
)
from tests.clusterf.strategies import tables

WEB = VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("198.51.100.1"), 80)
GONE = VirtualServer(Family.IPV4, fwmark=1)
SETTINGS = VirtualServerSettings("wlc", ServiceFlag(0), 0, 0xFFFFFFFF)
REAL, OTHER = (RealServer(IPv4Address(a), 8080) for a in ("10.0.0.1", "10.0.0.2"))
TEN = RealServerSettings(Method.MASQ, 10)


@pytest.fixture
def kernel():
    return ShadowKernel(table_of([(WEB, SETTINGS, {REAL: TEN})]))


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (Step(Op.ADD_VIRTUAL, WEB, None, SETTINGS), errno.EEXIST),
        (Step(Op.EDIT_VIRTUAL, GONE, None, SETTINGS), errno.ESRCH),
        (Step(Op.REMOVE_VIRTUAL, GONE), errno.ESRCH),
        (Step(Op.ADD_REAL, WEB, REAL, TEN), errno.EEXIST),
        (Step(Op.ADD_REAL, GONE, REAL, TEN), errno.ESRCH),
        (Step(Op.EDIT_REAL, WEB, OTHER, TEN), errno.ENOENT),
        (Step(Op.EDIT_REAL, GONE, REAL, TEN), errno.ESRCH),
        (Step(Op.REMOVE_REAL, WEB, OTHER), errno.ENOENT),
        (Step(Op.REMOVE_REAL, GONE, REAL), errno.ESRCH),
    ],
)
def test_a_shadow_refuses_what_the_kernel_refuses_and_stays_as_it_was(kernel, step, error):
    before = kernel.read()
    assert kernel.apply([step]) == [error]
    assert kernel.read() == before


def test_a_step_that_fails_does_not_stop_the_ones_after_it(kernel):
    steps = [Step(Op.REMOVE_REAL, WEB, OTHER), Step(Op.REMOVE_REAL, WEB, REAL), Step(Op.ADD_REAL, WEB, OTHER, TEN)]
    assert kernel.apply(steps) == [errno.ENOENT, 0, 0]
    assert kernel.read() == table_of([(WEB, SETTINGS, {OTHER: TEN})])


def test_what_is_read_is_a_copy(kernel):
    kernel.read().put_virtual(WEB, None)
    kernel.read_virtuals().clear()
    kernel.read_virtual(WEB)[1].clear()
    assert kernel.read() == table_of([(WEB, SETTINGS, {REAL: TEN})])


def test_one_virtual_server_is_read_with_its_real_servers(kernel):
    assert kernel.read_virtual(WEB) == (SETTINGS, {REAL: TEN})
    assert kernel.read_virtual(GONE) is None
    assert kernel.read_virtuals() == {WEB: SETTINGS}


def test_a_shadow_has_no_connections_and_can_be_emptied(kernel):
    assert kernel.connections(WEB) == {}
    kernel.flush()
    kernel.close()
    assert kernel.read() == Table()


@given(tables, tables)
def test_a_shadow_takes_every_difference_without_an_error(desired, actual):
    kernel = ShadowKernel(actual.copy())
    steps = list(diff(desired, actual))
    assert kernel.apply(steps) == [0] * len(steps)
    assert kernel.read() == desired
