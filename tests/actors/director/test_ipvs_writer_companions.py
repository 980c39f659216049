import pytest

from actors.base.messages import Reload
from actors.director import ipvs_writer
from clusterf.lib.store import Store
from clusterf.reconcile.ownership import Ownership
from tests.actors.support.writing import (
    TWELVE,
    gone,
    real,
    table,
    virtual,
    weighing,
)
from tests.waiting import wait_until


class NotingCompanion:
    """A companion that notes its calls: for each virtual server whether it is ours, and whether it is in the table."""

    def __init__(self, kernel, *, failing=False):
        self.kernel = kernel
        self.failing = failing
        self.calls = []

    def follow(self, changes):
        self.calls += [(v, ours, v in self.kernel.table.virtuals) for v, ours in changes.items()]
        self._fail()

    def keep(self):
        self.calls.append("keep")
        self._fail()

    def _fail(self):
        if self.failing:
            raise OSError("there is no interface eth0")


def test_virtual_servers_are_followed_from_before_they_are_added_until_they_are_removed(writing, kernel):
    companion = NotingCompanion(kernel)
    writing.start(follower=companion).want(v1={1: 10}).settled()
    writing.want(v1={1: 20, 2: 10}).settled()
    writing.want(*gone(1)).settled()
    assert companion.calls == ["keep", (virtual(1), True, False), (virtual(1), False, False)]


def test_companions_are_kept_after_each_read_of_the_whole_table(writing, kernel):
    Ownership(Store(writing.path)).record({virtual(1): 30.0, virtual(9): 30.0})
    kernel.table = table(v1={}, v2={})
    companion = NotingCompanion(kernel)
    writing.start(follower=companion).want(v1={}, v2={}).settled()
    assert set(companion.calls[:2]) == {(virtual(1), True, True), (virtual(9), True, False)}
    assert set(companion.calls[2:-1]) == {(virtual(2), True, True), (virtual(9), False, False)}
    assert companion.calls[-1] == "keep"
    writing.ref.tell(Reload())
    wait_until(lambda: companion.calls.count("keep") == 2)


def test_virtual_server_is_followed_while_its_real_servers_drain(writing, kernel):
    companion = NotingCompanion(kernel)
    writing.start(follower=companion).want(**TWELVE).settled()
    kernel.active[virtual(1)] = {real(1): 3}
    writing.want(*gone(1))
    wait_until(lambda: kernel.table.reals[virtual(1)] == {real(1): weighing(0)})
    assert all(ours for _, ours, _ in companion.calls[1:])


def test_virtual_servers_that_return_after_a_flush_stay_followed(writing, kernel):
    Ownership(Store(writing.path)).record({virtual(1): 30.0})
    kernel.table = table(v1={})
    companion = NotingCompanion(kernel)
    writing.start(follower=companion, flush=True).want(v1={}).settled()
    assert companion.calls == [(virtual(1), True, True), "keep"]


def test_failed_companion_is_retried_before_the_next_resync(writing, kernel, caplog):
    companion = NotingCompanion(kernel, failing=True)
    writing.start(follower=companion, resync_interval=1000.0).want(v1={1: 10}).settled()
    companion.failing = False
    kept = companion.calls.count("keep")
    wait_until(lambda: companion.calls.count("keep") == kept + 1)
    writing.settled()
    assert ipvs_writer._Self.KEEP_COMPANIONS not in writing.actor._due

    companion.failing = True
    writing.want(v2={}).settled()
    companion.failing = False
    wait_until(lambda: companion.calls.count("keep") == kept + 2)


def test_table_is_written_although_a_companion_fails(writing, kernel, caplog):
    writing.start(follower=NotingCompanion(kernel, failing=True)).want(v1={1: 10}).settled()
    assert kernel.table == table(v1={1: 10})
    assert "ipvs: there is no interface eth0" in caplog.text


@pytest.mark.parametrize(("noop", "status"), [(False, 1), (True, 0)])
def test_failed_companion_gives_exit_status_1_with_once_but_not_with_noop(writing, kernel, noop, status):
    writing.start(follower=NotingCompanion(kernel, failing=True), once=True, noop=noop).want(v1={1: 10})
    assert wait_until(lambda: writing.finished) == [status]
    assert kernel.table == table(v1={1: 10})
