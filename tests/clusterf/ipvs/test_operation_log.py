import errno

import pytest

from clusterf.ipvs.operation_log import OperationLog, log_prefix
from clusterf.ipvs.table import Op, Step
from tests.clusterf.support.kernel_refusals import REAL, SETTINGS, TEN, WEB

STEPS = [Step(Op.ADD_VIRTUAL, WEB, None, SETTINGS), Step(Op.ADD_REAL, WEB, REAL, TEN), Step(Op.REMOVE_REAL, WEB, REAL)]


@pytest.fixture(autouse=True)
def _info(caplog):
    caplog.set_level("INFO")


@pytest.mark.parametrize(("noop", "prefix"), [(False, "ipvs"), (True, "ipvs noop")])
def test_operations_that_were_done_are_lines_of_one_record(caplog, noop, prefix):
    assert log_prefix(noop=noop) == prefix
    OperationLog(noop=noop).applied(STEPS, [0, errno.ENOMEM, 0])
    (record,) = caplog.records
    first, second = record.getMessage().splitlines()
    assert first.startswith(f"{prefix}: ipvsadm -A ")
    assert second.startswith(f"{prefix}: ipvsadm -d ")


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_nothing_is_logged_where_nothing_was_done_or_is_wanted(caplog, level):
    caplog.set_level(level)
    OperationLog().applied(STEPS, [errno.ENOMEM] * 3 if level == "INFO" else [0] * 3)
    assert caplog.records == []


def test_flush_is_logged_as_a_command(caplog):
    OperationLog(noop=True).flushed()
    assert caplog.messages == ["ipvs noop: ipvsadm -C"]


def test_failed_operation_is_an_error_with_the_reason(caplog):
    OperationLog().failed(STEPS[2], errno.ENOENT)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("ipvs: failed: ipvsadm -d ")
    assert record.getMessage().endswith(": No such file or directory")
