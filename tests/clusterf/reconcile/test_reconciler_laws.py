import errno

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clusterf.ipvs.diff import diff
from clusterf.ipvs.table import (
    Op,
    ServiceFlag,
    Table,
    VirtualServerSpec,
    table_of,
)
from clusterf.lib.addresses import Protocol
from clusterf.reconcile.drains import TIMEOUT
from clusterf.reconcile.reconciler import Reconciler
from tests.clusterf.support.reconciling import (
    DNS,
    FIVE,
    FOREIGN,
    MARK,
    ONE,
    ONE_PACKET,
    RR,
    TEN,
    THREE,
    TWO,
    WEB,
    WLC,
    ZERO,
    FaultyKernel,
)
from tests.examples import examples

VIRTUALS = st.sampled_from([WEB, DNS, MARK])
REALS = st.sampled_from([ONE, TWO, THREE])
WEIGHTS = st.sampled_from([ZERO, FIVE, TEN])
TIMEOUTS = st.sampled_from([0.0, 10.0, 30.0, 60.0])
SETTINGS = st.sampled_from([WLC, RR, ONE_PACKET])
ERRORS = st.sampled_from([0, 0, errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ENOMEM])


class ReconcilerMachine(RuleBasedStateMachine):
    """A reconciler and a kernel that fails and is changed from outside, while the desired table changes."""

    def __init__(self):
        super().__init__()
        self.kernel = FaultyKernel(table_of([(FOREIGN, RR, {ONE: TEN})]))
        self.now = 0.0
        # how long the real servers of our virtual servers may drain: as recorded, and as desired last
        self.record = {}
        self.timeouts = {}
        self.wanted = Table()
        # since when a real server in the kernel is not desired
        self.left = {}
        # the virtual servers that ceased to be desired, and whose departure was not reported
        # whether nothing was changed from outside, so that nothing may be left over
        self.alone = True

    @initialize(there=st.booleans(), ours=st.booleans())
    def start(self, there, ours):
        if there:
            self.kernel.table.put_virtual(WEB, RR)
            self.kernel.table.put_real(WEB, ONE, FIVE)
            self.alone = ours
        if ours:
            self.record[WEB] = 10.0
        self.restart()

    @rule()
    def restart(self):
        self.reconciler = Reconciler(self.record)
        self.timeouts = {virtual: self.timeouts.get(virtual) for virtual in self.wanted.virtuals}
        for virtual, how in self.wanted.virtuals.items():
            self.reconciler.want_virtual(virtual, VirtualServerSpec(how, self.timeouts[virtual]))
            for real, wanted in self.wanted.reals[virtual].items():
                self.reconciler.want_real(virtual, real, wanted)
        self.observe()

    @rule(virtual=VIRTUALS, how=SETTINGS, timeout=TIMEOUTS)
    def want_virtual(self, virtual, how, timeout):
        how = RR if virtual is WEB and how is ONE_PACKET else how
        self.wanted.put_virtual(virtual, how)
        self.timeouts[virtual] = timeout
        self.reconciler.want_virtual(virtual, VirtualServerSpec(how, timeout))

    @rule(virtual=VIRTUALS)
    def want_no_virtual(self, virtual):
        self.wanted.put_virtual(virtual, None)
        self.reconciler.want_virtual(virtual, None)

    @precondition(lambda self: self.wanted.virtuals)
    @rule(data=st.data(), real=REALS, wanted=st.none() | WEIGHTS, urgent=st.booleans())
    def want_real(self, data, real, wanted, urgent):
        virtual = data.draw(st.sampled_from(list(self.wanted.virtuals)))
        self.wanted.put_real(virtual, real, wanted)
        self.reconciler.want_real(virtual, real, wanted, urgent=urgent)

    @rule(virtual=VIRTUALS, real=st.none() | REALS, weight=st.none() | WEIGHTS)
    def change_from_outside(self, virtual, real, weight):
        self.alone = False
        table = self.kernel.table
        if real is None:
            table.put_virtual(virtual, None if weight is None else RR)
        elif virtual in table.virtuals:
            table.put_real(virtual, real, weight)

    @rule(virtual=VIRTUALS, real=REALS, active=st.sampled_from([0, 3]), inactive=st.sampled_from([0, 0, 2]))
    def connect(self, virtual, real, active, inactive):
        self.kernel.active[virtual, real] = active
        self.kernel.inactive[virtual, real] = inactive

    @rule(faults=st.lists(ERRORS, min_size=1, max_size=6))
    def fail(self, faults):
        self.kernel.faults = faults

    @rule(seconds=st.sampled_from([1.0, 9.0, 40.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def observe(self):
        self.reconciler.observe(self.kernel.read())
        self.keep_record()  # at once, as the writer does: what is gone is no longer recorded as ours

    @rule()
    def retry(self):
        self.reconciler.retry()

    @rule()
    def check_drains(self):
        self.reconciler.check_drains()

    @rule(limit=st.integers(1, 4))
    def step(self, limit):
        for virtual in list(self.reconciler.failures.stale):
            self.reconciler.observe_virtual(virtual, self.kernel.read_virtual(virtual))
        steps = self.reconciler.next_steps(limit, self.now, self.kernel.connections)
        assert len(steps) <= limit
        assert len({(step.virtual, step.real) for step in steps}) == len(steps), "twice in one part"
        self.keep_record()
        errors = []
        for done in steps:
            self.judge(done)
            errors += self.kernel.apply([done])
            self.note_when_real_servers_leave()
        self.reconciler.done(steps, errors)
        self.keep_record()

    @rule(limit=st.integers(1, 50))
    def become_idle(self, limit):
        for _ in range(120):
            self.step(limit)
            if self.reconciler.idle:
                return
        raise AssertionError("never idle")

    @rule(limit=st.integers(1, 50))
    def settle(self, limit):
        self.kernel.faults = []
        self.observe()
        self.become_idle(limit)
        assert not self.reconciler.failures
        self.check_leftovers()
        self.now += 100.0
        self.reconciler.check_drains()
        self.become_idle(limit)
        assert not self.reconciler.draining
        table = self.kernel.read()
        others = {v for v in table.virtuals if v not in self.wanted.virtuals and v not in self.record}
        assert others == {FOREIGN} or not self.alone
        for virtual in others:
            table.put_virtual(virtual, None)
        assert table == self.wanted == self.reconciler.desired
        assert self.record == {virtual: self.timeouts[virtual] for virtual in self.wanted.virtuals}
        self.kernel.writes.clear()
        self.restart()
        self.become_idle(limit)
        assert self.kernel.writes == []

    @invariant()
    def note_when_real_servers_leave(self):
        for virtual, reals in self.kernel.table.reals.items():
            for real in reals:
                if real in self.wanted.reals.get(virtual, ()):
                    self.left.pop((virtual, real), None)
                else:
                    self.left.setdefault((virtual, real), self.now)

    def keep_record(self):
        for virtual, seconds in self.reconciler.owned.take_changes().items():
            if seconds is None:
                self.record.pop(virtual, None)
            else:
                self.record[virtual] = seconds

    def judge(self, step):
        virtual, real = step.virtual, step.real
        assert virtual in self.wanted.virtuals or virtual in self.record
        wanted = self.wanted.reals.get(virtual, {})
        if step.op is Op.REMOVE_VIRTUAL:
            assert virtual not in self.wanted.virtuals
            for present in self.kernel.table.reals.get(virtual, ()):
                # what somebody has added since the kernel was read cannot be waited for
                if self.alone or present in self.reconciler.actual.reals[virtual]:
                    self.judge_leaving(virtual, present)
        elif step.op is Op.REMOVE_REAL:
            assert real not in wanted
            if real in self.kernel.table.reals.get(virtual, ()):
                self.judge_leaving(virtual, real)
        elif real is not None and real in wanted:
            assert step.settings == wanted[real]
        elif real is not None:
            assert (step.op, step.settings.weight) == (Op.EDIT_REAL, 0)
            if real in self.kernel.table.reals.get(virtual, ()):
                assert any(self.kernel.count(virtual, real)), "drained without a connection"
                assert self.connects(virtual)

    def judge_leaving(self, virtual, real):
        timeout = self.timeout(virtual)
        if not timeout or not self.connects(virtual):
            return
        active, inactive = self.kernel.count(virtual, real)
        if active:
            assert self.now - self.left[virtual, real] >= timeout
        elif inactive:
            assert not self.reconciler.actual.reals[virtual][real].weight, "a connection may arrive before the removal"

    def connects(self, virtual):
        """Tell whether the virtual server, as the reconciler knows it, has connections that are waited for."""
        if virtual.protocol is not None:
            return virtual.protocol is not Protocol.UDP
        return not self.reconciler.actual.virtuals[virtual].flags & ServiceFlag.ONE_PACKET

    def timeout(self, virtual):
        """Return how long real servers may drain: as desired last, or else as recorded."""
        return self.timeouts.get(virtual, self.record.get(virtual, TIMEOUT))

    def check_leftovers(self):
        """See that only real servers with connections are left over, and drain."""
        for step in diff(self.wanted, self.kernel.table):
            if step.virtual not in self.wanted.virtuals and step.virtual not in self.record:
                continue
            assert step.op in {Op.REMOVE_REAL, Op.REMOVE_VIRTUAL}
            reals = [step.real] if step.real else self.kernel.table.reals[step.virtual]
            assert reals
            for real in reals:
                assert self.kernel.table.reals[step.virtual][real].weight == 0
                assert self.kernel.active[step.virtual, real]
                assert self.connects(step.virtual)
                assert self.timeout(step.virtual) > 0


ReconcilerMachine.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)
TestReconciler = ReconcilerMachine.TestCase


@pytest.mark.parametrize("active", [0, 3])
def test_virtual_server_is_removed_with_what_somebody_has_added_since_the_kernel_was_read(active):
    machine = ReconcilerMachine()
    machine.start(there=False, ours=False)
    machine.want_virtual(MARK, WLC, 10.0)
    machine.become_idle(1)
    machine.change_from_outside(MARK, ONE, TEN)
    machine.note_when_real_servers_leave()
    machine.connect(MARK, ONE, active, 2)
    machine.want_no_virtual(MARK)
    machine.step(3)
    assert MARK not in machine.kernel.table.virtuals
