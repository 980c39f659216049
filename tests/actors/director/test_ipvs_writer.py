import errno

from actors.base.messages import Reload
from actors.director import ipvs_writer
from actors.director.messages import Credit
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from clusterf.ipvs.table import (
    Op,
    VirtualServerSpec,
)
from clusterf.lib.store import Store
from clusterf.reconcile.ownership import Ownership
from tests.actors.support.between import between_messages
from tests.actors.support.writing import (
    WLC,
    gone,
    real,
    table,
    virtual,
    weighing,
)
from tests.waiting import wait_until


def test_nothing_is_done_before_the_configuration_is_complete(writing, kernel):
    kernel.table = table(v9={1: 1})
    Ownership(Store(writing.path)).record({virtual(9): 30.0})
    writing.start(flush=True).want(v1={1: 10}, synced=False)
    writing.ref.tell(Reload())
    assert writing.sent == [Credit("config")]
    assert (kernel.steps, kernel.flushes, kernel.reads) == ([], 0, 0)
    writing.want().settled()
    assert kernel.table == table(v1={1: 10})


def test_kernel_gets_the_desired_table(writing, kernel):
    writing.start().want(v1={1: 10, 2: 20}, v2={}).settled()
    assert kernel.table == table(v1={1: 10, 2: 20}, v2={})
    writing.want(RealServerWanted(virtual(1), real(1), None), v3={1: 5}).settled()
    writing.want(VirtualServerWanted(virtual(2), None)).settled()
    assert kernel.table == table(v1={2: 20}, v3={1: 5})


def test_kernel_that_has_the_desired_table_is_not_written(writing, kernel, caplog):
    kernel.table = table(v1={1: 10, 2: 20}, v2={})
    writing.start().want(v1={1: 10, 2: 20}, v2={}).settled()
    assert kernel.steps == []
    assert "ipvsadm" not in caplog.text


def test_operations_are_logged_as_ipvsadm_commands(writing, caplog):
    writing.start(noop=True).want(v1={1: 10}).settled()
    writing.want(RealServerWanted(virtual(1), real(1), weighing(0))).settled()
    writing.want(RealServerWanted(virtual(1), real(1), None)).settled()
    writing.want(VirtualServerWanted(virtual(1), None)).settled()
    records = [record for record in caplog.records if record.name == "clusterf.ipvs.operation_log"]
    assert [line for record in records for line in record.getMessage().splitlines()] == [
        "ipvs noop: ipvsadm -A -t 10.1.1.1:80 -s wlc",
        "ipvs noop: ipvsadm -a -t 10.1.1.1:80 -r 10.2.2.1:80 -m -w 10",
        "ipvs noop: ipvsadm -e -t 10.1.1.1:80 -r 10.2.2.1:80 -m -w 0",
        "ipvs noop: ipvsadm -d -t 10.1.1.1:80 -r 10.2.2.1:80",
        "ipvs noop: ipvsadm -D -t 10.1.1.1:80",
    ]


def test_failed_step_is_logged_and_retried_while_the_others_are_done(writing, kernel, caplog):
    kernel.refused[real(1)] = errno.ENOMEM
    writing.start().want(v1={1: 10, 2: 10}).settled()
    assert kernel.table == table(v1={2: 10})
    assert "failed: ipvsadm -a -t 10.1.1.1:80 -r 10.2.2.1:80 -m -w 10: Cannot allocate memory" in caplog.text
    wait_until(lambda: len(kernel.steps) > 3)
    assert len(kernel.steps) < 6
    kernel.refused.clear()
    wait_until(lambda: kernel.table == table(v1={1: 10, 2: 10}))


def test_real_servers_of_a_failed_virtual_server_wait_without_an_error(writing, kernel, caplog):
    kernel.refused[virtual(1)] = errno.ENOENT
    writing.start().want(v1={1: 10, 2: 10}, v2={}).settled()
    wait_until(lambda: caplog.text.count("failed") >= 1)
    assert kernel.table == table(v2={})
    assert "-a -t" not in caplog.text
    kernel.refused.clear()
    wait_until(lambda: kernel.table == table(v1={1: 10, 2: 10}, v2={}))


def test_lost_answers_cause_a_reread_and_no_step_is_written_twice(writing, kernel, monkeypatch, caplog):
    def half(steps):
        monkeypatch.undo()
        kernel.apply(steps[: len(steps) // 2])
        raise OSError(errno.ENOBUFS, "No buffer space available")

    caplog.set_level("INFO")
    monkeypatch.setattr(kernel, "apply", half)
    reals = dict.fromkeys(range(1, 51), 10)
    writing.start().want(v1=reals, v2=reals)
    wait_until(lambda: kernel.table == table(v1=reals, v2=reals))
    assert len(set(kernel.steps)) == len(kernel.steps) == 102
    assert kernel.reads == 2
    assert "No buffer space available: rereading the table" in caplog.text
    assert "failed" not in caplog.text


def test_broken_kernel_is_retried_with_backoff(writing, kernel, caplog):
    kernel.breaks = [OSError(errno.EIO, "broken") for _ in range(1000)]
    writing.start().want(v1={1: 10})
    wait_until(lambda: len(kernel.breaks) < 998)
    assert len(kernel.breaks) > 990
    kernel.breaks.clear()
    wait_until(lambda: kernel.table == table(v1={1: 10}))


def test_virtual_servers_of_ours_are_recorded_for_the_next_writer(writing, kernel):
    writing.start().want(v1={}, v2={}).settled()
    writing.ref.stop()
    assert kernel.closed
    assert Ownership(Store(writing.path)).load().keys() == {virtual(1), virtual(2)}
    writing.start().want(v1={}).settled()
    assert kernel.table == table(v1={})
    assert Ownership(Store(writing.path)).load().keys() == {virtual(1)}


def test_nothing_is_recorded_with_noop(writing):
    writing.start(noop=True).want(v1={}).settled()
    assert Ownership(Store(writing.path)).load() == {}


def test_drain_ends_after_the_drain_timeout(writing, kernel, monkeypatch):
    monkeypatch.setattr(ipvs_writer, "DRAIN_CHECK", 0.05)
    writing.start().want(v1={1: 10, 2: 10})
    writing.want(VirtualServerWanted(virtual(1), VirtualServerSpec(WLC, 0.3))).settled()
    kernel.active[virtual(1)] = {real(1): 3}
    writing.want(RealServerWanted(virtual(1), real(1), None)).settled()
    assert kernel.table == table(v1={1: 0, 2: 10})
    wait_until(lambda: kernel.table == table(v1={2: 10}))


def test_large_table_is_written_in_parts_between_which_pings_are_answered(writing, kernel, monkeypatch):
    monkeypatch.setattr(ipvs_writer, "PART", 50)
    writing.start().want(v1=dict.fromkeys(range(1, 200), 10), v2=dict.fromkeys(range(1, 200), 10))
    assert between_messages(writing.ref, lambda: len(kernel.steps)) < 400
    writing.settled()
    assert kernel.table == table(v1=dict.fromkeys(range(1, 200), 10), v2=dict.fromkeys(range(1, 200), 10))


def test_urgent_steps_are_written_before_queued_ones(writing, kernel, monkeypatch):
    monkeypatch.setattr(ipvs_writer, "PART", 5)
    writing.start().want(v1={1: 10, 2: 10}).settled()
    kernel.steps.clear()
    writing.want(v1=dict.fromkeys(range(3, 100), 10))
    writing.want(RealServerWanted(virtual(1), real(1), weighing(0)), urgent=True)
    writing.want(RealServerWanted(virtual(1), real(2), None), urgent=True).settled()
    assert kernel.table == table(v1={1: 0, **dict.fromkeys(range(3, 100), 10)})
    assert all(step.real in {real(1), real(2)} for step in kernel.steps if step.op is not Op.ADD_REAL)
    assert max(at for at, step in enumerate(kernel.steps) if step.op is not Op.ADD_REAL) <= 12


def test_unknown_message_is_a_failure(writing, caplog):
    writing.start().ref.tell("nonsense")
    wait_until(lambda: not writing.ref.is_alive())
    assert "IpvsWriter" in caplog.text


def test_writer_goes_on_when_the_actor_upstream_is_dead(writing, kernel):
    writing.start().want(v1={1: 10}).settled()
    writing.upstream.stop()
    writing.want(*gone(1), v2={1: 10}).settled()
    assert kernel.table == table(v2={1: 10})
    assert writing.ref.is_alive()
