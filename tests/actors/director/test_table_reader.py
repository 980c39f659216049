import errno
from ipaddress import ip_network

import pytest

from actors.base.messages import Reload
from actors.director import table_reader
from actors.director.table_reader import TableReader
from clusterf.director.merger import RealServerWanted
from clusterf.ipvs.operation_log import OperationLog
from clusterf.lib.store import Store
from clusterf.reconcile.ownership import Ownership
from clusterf.reconcile.reconciler import Reconciler
from tests.actors.support.writing import (
    real,
    table,
    virtual,
    weighing,
)
from tests.waiting import wait_until


def test_table_is_read_again_after_a_broken_exchange(writing, kernel, caplog):
    writing.start().want(v1={1: 10}).settled()
    reads = kernel.reads
    kernel.breaks = [OSError(errno.ETIMEDOUT, "Connection timed out")]
    writing.want(RealServerWanted(virtual(1), real(1), weighing(20)))
    wait_until(lambda: kernel.table == table(v1={1: 20}))
    assert kernel.reads == reads + 1
    assert "Connection timed out: rereading the table" in caplog.text


def test_drift_is_logged_and_repaired_at_the_next_resync(writing, kernel, caplog):
    writing.start(resync_interval=0.3).want(v1={1: 10, 2: 10}, v2={}).settled()
    changed = table(v1={1: 99, 3: 1})
    kernel.table = changed
    wait_until(lambda: kernel.table == table(v1={1: 10, 2: 10}, v2={}))
    assert "ipvs: drift: 4 changes made outside clusterf, repairing" in caplog.text
    assert "drift: repair: ipvsadm -A -t 10.1.1.2:80 -s wlc" in caplog.text


def test_large_drift_takes_few_log_lines(writing, kernel, caplog):
    writing.start(resync_interval=0.3).want(v1=dict.fromkeys(range(1, 200), 10)).settled()
    kernel.table = table()
    wait_until(lambda: kernel.table == table(v1=dict.fromkeys(range(1, 200), 10)))
    assert caplog.text.count("drift: repair: ") == table_reader.DRIFT_LINES


def test_reload_reads_the_table_again(writing, kernel):
    writing.start().want(v1={1: 10}).settled()
    kernel.table = table()
    writing.ref.tell(Reload())
    wait_until(lambda: kernel.table == table(v1={1: 10}))


def test_flush_is_done_and_reported_once(writing, kernel, caplog):
    kernel.table = table(v1={1: 10}, v9={1: 1})
    writing.start(flush=True).want(v1={1: 10}).settled()
    writing.ref.tell(Reload())
    writing.settled()
    assert (kernel.flushes, writing.flushed) == (1, 1)
    assert kernel.table == table(v1={1: 10})
    assert caplog.text.count("ipvsadm -C") == 1


def test_failed_flush_is_repeated(writing, kernel):
    kernel.table = table(v9={1: 1})
    writing.start(flush=True)
    kernel.breaks = [OSError(errno.EIO, "broken")]
    writing.want(v1={})
    wait_until(lambda: kernel.table == table(v1={}))
    assert writing.flushed == 1


def test_excluded_virtual_servers_are_never_touched(writing, kernel, caplog):
    Ownership(Store(writing.path)).record({virtual(8): 30.0, virtual(9): 30.0})
    kernel.table = table(v7={1: 1}, v8={1: 1}, v9={1: 1})
    writing.start(flush=True, excluded=(ip_network("10.1.1.8/32"),)).want(v1={}).settled()
    assert kernel.flushes == 0
    assert kernel.table == table(v1={}, v8={1: 1})
    assert all(step.virtual != virtual(8) for step in kernel.steps)


def test_only_recorded_virtual_servers_are_removed(writing, kernel):
    Ownership(Store(writing.path)).record({virtual(9): 30.0})
    kernel.table = table(v8={1: 1}, v9={1: 1})
    writing.start().want(v1={}).settled()
    assert kernel.table == table(v1={}, v8={1: 1})


def test_recorded_virtual_server_that_a_read_has_missed_is_not_forgotten(writing, kernel, monkeypatch):
    def incomplete():
        monkeypatch.undo()
        return table(v8={1: 1})

    Ownership(Store(writing.path)).record({virtual(7): 30.0, virtual(9): 30.0})
    kernel.table = table(v8={1: 1}, v9={1: 1})
    monkeypatch.setattr(kernel, "read", incomplete)
    writing.start().want(v1={}).settled()
    assert kernel.table == table(v1={}, v8={1: 1})
    assert Ownership(Store(writing.path)).load().keys() == {virtual(1)}


def test_drift_of_the_first_read_and_of_one_after_an_error_is_not_logged(kernel, caplog):
    reconciler = Reconciler({virtual(1): 30.0})
    kernel.table = table(v1={1: 10})
    reader = TableReader(kernel, reconciler, OperationLog(), lambda _: False, None)
    assert reader.due
    reader.read()
    assert not reader.due
    kernel.table = table()
    reader.request("error")
    reader.request("resync")
    assert reader.due
    reader.read()
    assert "drift" not in caplog.text


def test_table_that_could_not_be_read_stays_due(kernel):
    reader = TableReader(kernel, Reconciler(), OperationLog(), lambda _: False, None)
    kernel.breaks = [OSError(errno.EIO, "Input/output error")]
    with pytest.raises(OSError):
        reader.read()
    assert reader.due
