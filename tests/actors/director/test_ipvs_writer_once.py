import errno

import pytest

from actors.director import ipvs_writer
from clusterf.director.merger import RealServerWanted
from tests.actors.support.writing import (
    BAD,
    WARNED,
    real,
    table,
    virtual,
)
from tests.waiting import wait_until


@pytest.mark.parametrize(("problems", "status"), [((), 0), ((WARNED,), 0), ((BAD,), 3), ((BAD, WARNED), 0)])
def test_exit_status_tells_whether_objects_were_invalid(writing, problems, status):
    writing.start(once=True).want(*problems, v1={1: 10})
    assert wait_until(lambda: writing.finished) == [status]


def test_failed_step_gives_exit_status_1(writing, kernel, caplog):
    kernel.refused[real(1)] = errno.EINVAL
    writing.start(once=True).want(BAD, v1={1: 10, 2: 10})
    assert wait_until(lambda: writing.finished) == [1]
    assert kernel.table == table(v1={2: 10})
    assert "1 operations failed" in caplog.text


def test_missing_configuration_gives_exit_status_1_after_the_timeout(writing, caplog):
    writing.start(once=True, once_timeout=0.2).want(v1={1: 10}, synced=False)
    assert wait_until(lambda: writing.finished) == [1]
    assert "giving up" in caplog.text


def test_node_does_not_end_while_a_real_server_drains(writing, kernel, monkeypatch):
    monkeypatch.setattr(ipvs_writer, "DRAIN_CHECK", 0.05)
    writing.start(once=True).want(v1={1: 10, 2: 10}).settled()
    writing.finished.clear()
    kernel.active[virtual(1)] = {real(1): 3}
    writing.want(RealServerWanted(virtual(1), real(1), None)).settled()
    assert kernel.table == table(v1={1: 0, 2: 10})
    assert writing.finished == []
    kernel.active.clear()
    wait_until(lambda: kernel.table == table(v1={2: 10}))
    assert wait_until(lambda: writing.finished)[0] == 0
