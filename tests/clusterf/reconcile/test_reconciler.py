import errno
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clusterf.ipvs.diff import diff
from clusterf.ipvs.shadow import ShadowKernel
from clusterf.ipvs.table import (
    ConnectionCount,
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    TableKey,
    Tunnel,
    TunnelType,
    VirtualServer,
    VirtualServerSettings,
    VirtualServerSpec,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol
from clusterf.reconcile.drains import TIMEOUT
from clusterf.reconcile.failures import Failure
from clusterf.reconcile.reconciler import Reconciler

VIP = IPv4Address("198.51.100.1")
WEB = VirtualServer(Family.IPV4, Protocol.TCP, VIP, 80)
DNS = VirtualServer(Family.IPV4, Protocol.UDP, VIP, 53)
MARK = VirtualServer(Family.IPV4, fwmark=1)
FOREIGN = VirtualServer(Family.IPV6, Protocol.TCP, IPv6Address("fd00:ff::1"), 80)
ONE, TWO, THREE, FOUR = (RealServer(IPv4Address("10.0.0.0") + n, 8080) for n in range(1, 5))
WLC, RR = (VirtualServerSettings(name, ServiceFlag(0), 0, 0xFFFFFFFF) for name in ("wlc", "rr"))
ONE_PACKET = VirtualServerSettings("wlc", ServiceFlag.ONE_PACKET, 0, 0xFFFFFFFF)
CLAIM = VirtualServerSpec(WLC, 30.0)
ZERO, FIVE, TEN = (RealServerSettings(Method.MASQ, weight) for weight in (0, 5, 10))


class FaultyKernel(ShadowKernel):
    """A shadow with connections, that fails the steps of `faults`, in their order, or all of `refused`."""

    def __init__(self, table=None):
        super().__init__(table)
        self.faults = []
        self.refused = {}
        self.active = {}
        self.inactive = {}
        self.writes = []
        self.looks = 0

    def connections(self, virtual):
        self.looks += 1
        return {r: self.count(virtual, r) for r in self.table.reals.get(virtual, ())}

    def count(self, virtual, real):
        return ConnectionCount(self.active.get((virtual, real), 0), self.inactive.get((virtual, real), 0))

    def _apply(self, step):
        self.writes.append(step)
        fault = self.refused.get((step.op, step.virtual, step.real), 0) or (self.faults.pop(0) if self.faults else 0)
        return fault or super()._apply(step)


def work(reconciler, kernel, now=0.0, limit=100, rounds=50):
    """Do what there is to do at present; return the failures."""
    failures = []
    for _ in range(rounds):
        for virtual in list(reconciler.failures.stale):
            reconciler.observe_virtual(virtual, kernel.read_virtual(virtual))
        steps = reconciler.next_steps(limit, now, kernel.connections)
        assert len(steps) <= limit
        failures += reconciler.done(steps, kernel.apply(steps))
        if reconciler.idle:
            return failures
    raise AssertionError("there is always more to do")


def step(reconciler, kernel, *, departures=True, now=0.0):
    """Do one part; return which virtual servers have begun to go by it."""
    steps = reconciler.next_steps(100, now, kernel.connections, departures=departures)
    departed = reconciler.owned.take_departed()
    reconciler.done(steps, kernel.apply(steps))
    return departed


def started(reals=None, kernel_table=None, owned=MappingProxyType({}), virtual=WEB, claim=CLAIM):
    """Return a reconciler that wants one virtual server, and has read the kernel."""
    kernel = FaultyKernel(kernel_table)
    reconciler = Reconciler(owned)
    reconciler.want_virtual(virtual, claim)
    for real, wanted in (reals or {}).items():
        reconciler.want_real(virtual, real, wanted)
    reconciler.observe(kernel.read())
    return reconciler, kernel


def settled(reals=None, **more):
    reconciler, kernel = started(reals, **more)
    work(reconciler, kernel)
    reconciler.owned.take_changes()
    kernel.writes.clear()
    return reconciler, kernel


def web(reals, settings=WLC):
    return table_of([(WEB, settings, reals)])


def test_an_empty_kernel_gets_what_is_wanted():
    reconciler, kernel = started({ONE: TEN, TWO: FIVE})
    assert work(reconciler, kernel) == []
    assert kernel.table == web({ONE: TEN, TWO: FIVE})
    assert reconciler.owned.take_changes() == {WEB: 30.0}


def test_a_kernel_that_is_right_is_not_written():
    reconciler, kernel = started({ONE: TEN}, kernel_table=web({ONE: TEN}))
    assert reconciler.idle
    assert work(reconciler, kernel) == []
    assert kernel.writes == []


def test_what_is_wrong_is_edited_and_additions_come_before_removals():
    reconciler, kernel = started({TWO: TEN, THREE: FIVE}, kernel_table=web({ONE: TEN, THREE: TEN}, RR))
    work(reconciler, kernel)
    changes, removal = kernel.writes[:-1], kernel.writes[-1]
    assert removal == Step(Op.REMOVE_REAL, WEB, ONE)
    assert sorted(changes, key=str) == [
        Step(Op.ADD_REAL, WEB, TWO, TEN),
        Step(Op.EDIT_REAL, WEB, THREE, FIVE),
        Step(Op.EDIT_VIRTUAL, WEB, None, WLC),
    ]


def test_ownership_is_told_before_the_step_that_makes_it():
    reconciler, kernel = started()
    steps = reconciler.next_steps(100, 0.0, kernel.connections)
    assert steps == [Step(Op.ADD_VIRTUAL, WEB, None, WLC)]
    assert reconciler.owned.take_changes() == {WEB: 30.0}
    assert reconciler.owned.take_changes() == {}


@pytest.mark.parametrize(("owned", "goes"), [({WEB: 30.0}, True), ({}, False)])
def test_of_what_is_not_wanted_only_our_own_goes(owned, goes):
    reconciler, kernel = started(virtual=DNS, kernel_table=web({ONE: TEN}), owned=owned)
    work(reconciler, kernel)
    assert (WEB not in kernel.table.virtuals) == goes
    assert reconciler.owned.take_changes() == {DNS: 30.0} | ({WEB: None} if goes else {})


def test_a_virtual_server_that_was_there_is_ours_once_it_is_wanted_and_goes_when_it_is_not():
    reconciler, kernel = settled(virtual=DNS, kernel_table=web({ONE: TEN}))
    reconciler.want_virtual(WEB, CLAIM)
    work(reconciler, kernel)
    assert reconciler.owned.take_changes() == {WEB: 30.0}
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    assert WEB not in kernel.table.virtuals


def test_what_others_removed_is_no_longer_ours():
    reconciler, kernel = started(virtual=DNS, owned={WEB: 30.0})
    assert reconciler.owned.take_changes() == {WEB: None}
    kernel.table.put_virtual(WEB, RR)
    reconciler.observe(kernel.read())
    work(reconciler, kernel)
    assert kernel.table.virtuals[WEB] == RR


def test_what_others_changed_is_told_and_mended():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.table.put_virtual(FOREIGN, RR)
    kernel.table.put_real(WEB, ONE, ZERO)
    kernel.table.put_real(WEB, THREE, TEN)
    undone = reconciler.observe(kernel.read())
    assert undone == [Step(Op.EDIT_REAL, WEB, ONE, TEN), Step(Op.REMOVE_REAL, WEB, THREE)]
    work(reconciler, kernel)
    assert kernel.table.reals == {WEB: {ONE: TEN, TWO: TEN}, FOREIGN: {}}


@pytest.mark.parametrize(
    ("virtual", "settings", "timeout", "active", "drains"),
    [
        (WEB, WLC, 30.0, 1, True),
        (WEB, WLC, 30.0, 0, False),
        (WEB, WLC, 0.0, 1, False),
        (DNS, WLC, 30.0, 1, False),
        (DNS, ONE_PACKET, 30.0, 1, False),
        (MARK, WLC, 30.0, 1, True),
        (MARK, ONE_PACKET, 30.0, 1, False),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_a_real_server_that_leaves_drains_if_it_has_connections(virtual, settings, timeout, active, drains, whole):
    reconciler, kernel = settled({ONE: TEN, TWO: TEN}, virtual=virtual, claim=VirtualServerSpec(settings, timeout))
    kernel.active[virtual, ONE] = active
    if whole:
        reconciler.want_virtual(virtual, None)
    else:
        reconciler.want_real(virtual, ONE, None)
    work(reconciler, kernel, now=0.0)
    left = {} if whole else {TWO: TEN}
    assert kernel.table.reals.get(virtual, {}) == left | ({ONE: ZERO} if drains else {})
    assert bool(reconciler.draining) == drains
    reconciler.check_drains()
    work(reconciler, kernel, now=29.9)
    assert (ONE in kernel.table.reals.get(virtual, ())) == drains
    reconciler.check_drains()
    work(reconciler, kernel, now=30.0)
    assert kernel.table.reals == ({} if whole else {virtual: {TWO: TEN}})
    assert not reconciler.draining


def test_a_drained_real_server_goes_as_soon_as_it_has_no_connection():
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    kernel.active.clear()
    reconciler.check_drains()
    work(reconciler, kernel, now=1.0)
    assert kernel.table == web({})


def test_a_real_server_that_returns_while_it_drains_gets_its_weight_back_and_its_time_anew():
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    for now in (0.0, 100.0):
        reconciler.want_real(WEB, ONE, None)
        work(reconciler, kernel, now=now)
        assert kernel.table == web({ONE: ZERO})
        reconciler.want_real(WEB, ONE, TEN)
        assert not reconciler.draining
        work(reconciler, kernel, now=now)
        assert kernel.table == web({ONE: TEN})


def test_a_real_server_that_returns_while_it_drains_gets_its_weight_and_nothing_else():
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    reconciler.want_real(WEB, ONE, FIVE)
    for now in (1.0, 100.0):
        reconciler.check_drains()
        work(reconciler, kernel, now=now)
    assert kernel.writes == [Step(Op.EDIT_REAL, WEB, ONE, ZERO), Step(Op.EDIT_REAL, WEB, ONE, FIVE)]


@pytest.mark.parametrize("settings", [TEN, RealServerSettings(Method.TUNNEL, 10, 9, 3, Tunnel(TunnelType.GUE, 6080))])
def test_nothing_but_the_weight_of_a_real_server_that_drains_is_changed_and_that_is_kept_so(settings):
    reconciler, kernel = settled({ONE: settings})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    drained = msgspec.structs.replace(settings, weight=0)
    assert kernel.table == web({ONE: drained})
    kernel.table.put_real(WEB, ONE, settings)
    reconciler.observe(kernel.read())
    work(reconciler, kernel, now=1.0)
    assert kernel.table == web({ONE: drained})


@pytest.mark.parametrize(("before", "after", "end"), [(30.0, 60.0, 60.0), (30.0, 10.0, 10.0), (30.0, 0.0, 5.0)])
@pytest.mark.parametrize("back", [True, False])
def test_a_drain_timeout_that_changes_counts_for_what_drains_already(before, after, end, back):
    reconciler, kernel = settled({ONE: TEN, TWO: TEN}, claim=VirtualServerSpec(WLC, before))
    kernel.active[WEB, ONE] = 1
    if back:
        reconciler.want_virtual(WEB, None)
    else:
        reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel, now=0.0)
    reconciler.want_virtual(WEB, VirtualServerSpec(WLC, after))
    reconciler.want_real(WEB, TWO, TEN)
    for now, there in ((5.0, end > 5.0), (end - 0.1, end > 5.0), (end, False)):
        reconciler.check_drains()
        work(reconciler, kernel, now=now)
        assert kernel.table == web({TWO: TEN} | ({ONE: ZERO} if there else {}))


def test_a_service_that_returns_while_it_drains_gets_its_weights_and_what_it_lost_goes_on_draining():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.active = {(WEB, ONE): 1, (WEB, TWO): 1}
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    kernel.writes.clear()
    reconciler.want_virtual(WEB, CLAIM)
    reconciler.want_real(WEB, ONE, TEN)
    work(reconciler, kernel, now=20.0)
    assert kernel.writes == [Step(Op.EDIT_REAL, WEB, ONE, TEN)]
    reconciler.check_drains()
    work(reconciler, kernel, now=30.0)
    assert kernel.table == web({ONE: TEN})


def test_the_real_servers_of_another_service_that_takes_a_virtual_server_come_first_and_ours_drain_in_it():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_virtual(WEB, VirtualServerSpec(RR, 5.0))
    for real, wanted in ((ONE, None), (TWO, None), (THREE, FIVE)):
        reconciler.want_real(WEB, real, wanted)
    work(reconciler, kernel)
    assert kernel.writes == [
        Step(Op.EDIT_VIRTUAL, WEB, None, RR),
        Step(Op.ADD_REAL, WEB, THREE, FIVE),
        Step(Op.EDIT_REAL, WEB, ONE, ZERO),
        Step(Op.REMOVE_REAL, WEB, TWO),
    ]
    reconciler.check_drains()
    work(reconciler, kernel, now=5.0)
    assert kernel.table == web({THREE: FIVE}, RR)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("arrives", [False, True])
def test_a_connection_that_comes_while_a_real_server_is_about_to_go_is_not_cut(whole, arrives):
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.inactive[WEB, ONE] = 1
    if whole:
        reconciler.want_virtual(WEB, None)
    else:
        reconciler.want_real(WEB, ONE, None)
    step(reconciler, kernel)
    assert kernel.table.reals[WEB][ONE] == ZERO
    kernel.active[WEB, ONE] = int(arrives)
    work(reconciler, kernel)
    assert (ONE in kernel.table.reals.get(WEB, ())) == arrives
    reconciler.check_drains()
    work(reconciler, kernel, now=30.0)
    assert kernel.table == (Table() if whole else web({TWO: TEN}))


@pytest.mark.parametrize(
    ("virtual", "claim"),
    [(DNS, CLAIM), (MARK, VirtualServerSpec(ONE_PACKET, 30.0)), (WEB, VirtualServerSpec(WLC, 0.0))],
)
def test_what_does_not_drain_is_not_looked_at_twice(virtual, claim):
    reconciler, kernel = settled({ONE: TEN}, virtual=virtual, claim=claim)
    kernel.inactive[virtual, ONE] = kernel.active[virtual, ONE] = 1
    reconciler.want_real(virtual, ONE, None)
    work(reconciler, kernel)
    assert kernel.writes == [Step(Op.REMOVE_REAL, virtual, ONE)]


def test_what_was_recorded_says_how_long_a_service_drains_that_left_before_the_start():
    left = web({ONE: TEN})
    reconciler, kernel = started(virtual=DNS, owned={WEB: 90.0}, kernel_table=left)
    kernel.active[WEB, ONE] = 1
    for now, there in ((0.0, True), (89.9, True), (90.0, False)):
        reconciler.check_drains()
        work(reconciler, kernel, now=now)
        assert (WEB in kernel.table.virtuals) == there


def test_a_drain_timeout_is_put_on_record_when_it_changes_and_only_then():
    reconciler, _ = settled({ONE: TEN}, claim=VirtualServerSpec(WLC, 60.0))
    reconciler.want_virtual(WEB, VirtualServerSpec(RR, 60.0))
    assert reconciler.owned.take_changes() == {}
    reconciler.want_virtual(WEB, VirtualServerSpec(RR, 0.0))
    assert reconciler.owned.take_changes() == {WEB: 0.0}
    reconciler.want_virtual(DNS, VirtualServerSpec(RR, 5.0))
    assert reconciler.owned.take_changes() == {}  # before it is ours


@pytest.mark.parametrize("gone", [ONE, None])
def test_what_drains_and_is_removed_by_others_is_forgotten(gone):
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    kernel.apply([Step(Op.REMOVE_REAL if gone else Op.REMOVE_VIRTUAL, WEB, gone)])
    reconciler.observe(kernel.read())
    reconciler.check_drains()
    work(reconciler, kernel)
    assert not reconciler.draining
    assert kernel.table == Table()


def test_a_virtual_server_goes_in_one_step_whatever_was_marked_of_it():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    reconciler.want_real(WEB, ONE, None)
    reconciler.want_virtual(WEB, None)
    assert work(reconciler, kernel) == []
    assert kernel.writes == [Step(Op.REMOVE_VIRTUAL, WEB)]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_part_is_longer_than_its_limit(limit):
    reconciler, kernel = settled({ONE: TEN, TWO: TEN, THREE: TEN, FOUR: TEN})
    kernel.active = {(WEB, real): 1 for real in (ONE, TWO, THREE)}
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel, limit=limit)
    assert kernel.table == web({ONE: ZERO, TWO: ZERO, THREE: ZERO})


@pytest.mark.parametrize("error", [errno.EEXIST, errno.ENOENT, errno.ESRCH])
def test_a_step_that_finds_the_table_otherwise_has_it_read_again_at_once(error):
    reconciler, kernel = started({ONE: TEN, TWO: TEN})
    kernel.faults = [0, error]
    assert [failure.error for failure in work(reconciler, kernel)] == [error]
    assert kernel.table == web({ONE: TEN, TWO: TEN})
    assert not reconciler.failures


@pytest.mark.parametrize("error", [errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ENOMEM])
def test_a_step_that_always_fails_stays_to_do_while_the_others_are_done(error):
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


def test_of_a_virtual_server_that_fails_only_that_is_told_and_its_real_servers_follow_later():
    reconciler, kernel = started({ONE: TEN, TWO: TEN})
    kernel.refused = {(Op.ADD_VIRTUAL, WEB, None): errno.ENOMEM}
    assert work(reconciler, kernel, limit=2) == [Failure(Step(Op.ADD_VIRTUAL, WEB, None, WLC), errno.ENOMEM)]
    kernel.refused = {}
    reconciler.retry()
    assert work(reconciler, kernel, limit=2) == []
    assert kernel.table == web({ONE: TEN, TWO: TEN})


@pytest.mark.parametrize(("kept", "goes"), [({}, False), ({TWO: TEN}, True), ({TWO: ZERO}, False)])
def test_the_last_real_servers_that_serve_stay_while_their_successors_cannot_be_added(kept, goes):
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


def test_real_servers_follow_at_once_when_news_make_their_virtual_server_possible():
    reconciler, kernel = started({ONE: TEN, TWO: TEN})
    kernel.refused = {(Op.ADD_VIRTUAL, WEB, None): errno.EINVAL}
    work(reconciler, kernel, limit=1)
    kernel.refused = {}
    reconciler.want_virtual(WEB, VirtualServerSpec(RR, 30.0))
    work(reconciler, kernel, limit=1)
    assert kernel.table == web({ONE: TEN, TWO: TEN}, RR)


def test_what_a_virtual_server_that_is_read_again_has_too_much_goes():
    reconciler, kernel = settled({ONE: TEN})
    kernel.table.put_real(WEB, TWO, TEN)
    kernel.table.put_real(WEB, THREE, TEN)
    reconciler.want_real(WEB, TWO, FIVE)
    assert [failure.error for failure in work(reconciler, kernel)] == [errno.EEXIST]
    assert kernel.table == web({ONE: TEN, TWO: FIVE})


def test_each_retry_may_read_again():
    reconciler, kernel = started({ONE: TEN})
    kernel.refused = {(Op.ADD_REAL, WEB, ONE): errno.EEXIST}
    work(reconciler, kernel)
    kernel.refused = {}
    kernel.table.put_real(WEB, ONE, ZERO)
    reconciler.retry()
    work(reconciler, kernel)
    assert kernel.table == web({ONE: TEN})


def test_a_failed_removal_waits_for_the_retry_and_not_for_the_drains():
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


def test_connections_are_counted_once_for_all_that_leaves_in_a_part():
    many = [RealServer(IPv4Address("10.1.0.0") + n, 80) for n in range(500)]
    reconciler, kernel = settled({ONE: TEN})
    for real in many:
        reconciler.want_real(WEB, real, TEN)
    work(reconciler, kernel, limit=1000)
    for real in many:
        reconciler.want_real(WEB, real, None)
    kernel.looks = 0
    work(reconciler, kernel, limit=1000)
    assert kernel.looks == 1
    assert kernel.table == web({ONE: TEN})


def busy_writing(count=20):
    """Return a reconciler with much to do in its virtual server, where ONE and TWO are in force."""
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    for number in range(count):
        reconciler.want_real(WEB, RealServer(IPv4Address("10.1.0.0") + number, 80), TEN)
    return reconciler, kernel


def test_what_is_urgent_is_written_first():
    reconciler, kernel = busy_writing()
    reconciler.want_real(WEB, ONE, ZERO, urgent=True)
    steps = reconciler.next_steps(5, 0.0, kernel.connections)
    assert len(steps) == 5
    assert steps[0] == Step(Op.EDIT_REAL, WEB, ONE, ZERO)


def test_an_urgent_removal_does_not_wait_for_additions_but_for_urgent_ones():
    reconciler, kernel = busy_writing()
    reconciler.want_real(WEB, ONE, None, urgent=True)
    reconciler.want_real(WEB, THREE, TEN, urgent=True)
    assert reconciler.next_steps(2, 0.0, kernel.connections) == [
        Step(Op.ADD_REAL, WEB, THREE, TEN),
        Step(Op.REMOVE_REAL, WEB, ONE),
    ]


def test_an_urgent_removal_drains_as_any_other():
    reconciler, kernel = busy_writing(0)
    kernel.active[WEB, ONE] = 3
    reconciler.want_real(WEB, ONE, None, urgent=True)
    assert not reconciler.idle
    work(reconciler, kernel)
    assert kernel.writes == [Step(Op.EDIT_REAL, WEB, ONE, ZERO)]
    kernel.active.clear()
    reconciler.check_drains()
    work(reconciler, kernel)
    assert kernel.table == web({TWO: TEN})


@pytest.mark.parametrize("first", [True, False])
def test_what_is_both_urgent_and_queued_is_done_once(first):
    reconciler, kernel = busy_writing()
    reconciler.want_real(WEB, THREE, TEN, urgent=first)
    reconciler.want_real(WEB, THREE, FIVE, urgent=not first)
    steps = reconciler.next_steps(100, 0.0, kernel.connections)
    assert steps[0] == Step(Op.ADD_REAL, WEB, THREE, FIVE)
    assert len(steps) == 21


def test_what_is_urgent_stays_so_when_the_table_is_read():
    reconciler, kernel = busy_writing()
    reconciler.want_real(WEB, ONE, ZERO, urgent=True)
    reconciler.observe(kernel.read())
    assert reconciler.next_steps(1, 0.0, kernel.connections) == [Step(Op.EDIT_REAL, WEB, ONE, ZERO)]


def test_what_is_urgent_in_a_virtual_server_that_is_not_there_yet_waits_for_it():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_virtual(DNS, CLAIM)
    reconciler.want_real(DNS, ONE, ZERO, urgent=True)
    work(reconciler, kernel, limit=1)
    assert kernel.table.reals[DNS] == {ONE: ZERO}


def test_what_is_urgent_in_a_virtual_server_that_goes_is_forgotten():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_real(WEB, ONE, ZERO, urgent=True)
    reconciler.want_virtual(WEB, None)
    work(reconciler, kernel)
    assert kernel.writes == [Step(Op.REMOVE_VIRTUAL, WEB)]


def test_a_virtual_server_is_told_to_go_once_when_that_is_allowed():
    reconciler, kernel = settled({ONE: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_virtual(WEB, None)
    assert step(reconciler, kernel, departures=False) == []
    assert step(reconciler, kernel) == [WEB]
    assert kernel.table == web({ONE: ZERO})
    reconciler.check_drains()
    assert step(reconciler, kernel, now=60.0) == []
    assert kernel.table == Table()


def test_one_that_comes_back_before_it_begins_to_go_is_not_told():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_virtual(WEB, None)
    assert step(reconciler, kernel, departures=False) == []
    reconciler.want_virtual(WEB, CLAIM)
    reconciler.want_real(WEB, ONE, TEN)
    assert step(reconciler, kernel) == []
    assert kernel.writes == []


def test_one_that_was_about_to_go_and_came_back_has_to_be_allowed_to_go_again():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_virtual(DNS, CLAIM)
    work(reconciler, kernel)
    for virtual in (DNS, WEB):
        reconciler.want_virtual(virtual, None)
    assert reconciler.next_steps(1, 0.0, kernel.connections) == [Step(Op.REMOVE_VIRTUAL, DNS)]
    assert reconciler.owned.take_departed() == [DNS]
    for claim in (CLAIM, None):
        reconciler.want_virtual(WEB, claim)
    assert step(reconciler, kernel, departures=False) == []
    assert WEB in kernel.table.virtuals


def test_one_that_is_wanted_again_before_it_was_made_is_not_told():
    reconciler, kernel = settled({ONE: TEN})
    for claim in (CLAIM, None, CLAIM):
        reconciler.want_virtual(DNS, claim)
    reconciler.observe(kernel.read())
    assert reconciler.owned.take_departed() == []


def test_one_that_was_never_made_is_told_though_none_may_go():
    reconciler, kernel = settled({ONE: TEN})
    kernel.refused = {(Op.ADD_VIRTUAL, DNS, None): errno.EINVAL}
    reconciler.want_virtual(DNS, CLAIM)
    work(reconciler, kernel)
    for virtual in (WEB, DNS):
        reconciler.want_virtual(virtual, None)
    assert step(reconciler, kernel, departures=False) == [DNS]
    assert reconciler.leaving == 1


@pytest.mark.parametrize("there", [True, False])
def test_one_that_was_never_ours_is_told_when_the_table_is_read(there):
    reconciler, kernel = settled({ONE: TEN})
    kernel.table.put_virtual(DNS, RR)
    reconciler.observe(kernel.read())
    reconciler.want_virtual(DNS, CLAIM)
    reconciler.want_virtual(DNS, None)
    reconciler.observe(kernel.read() if there else web({ONE: TEN}))
    assert reconciler.owned.take_departed() == [DNS]


def test_one_that_others_remove_while_it_may_not_go_is_told():
    reconciler, kernel = settled({ONE: TEN})
    reconciler.want_virtual(WEB, None)
    assert step(reconciler, kernel, departures=False) == []
    reconciler.observe(Table())
    assert reconciler.owned.take_departed() == [WEB]


def test_one_in_which_a_real_server_drains_may_not_go_any_sooner():
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    kernel.active[WEB, ONE] = 1
    reconciler.want_real(WEB, ONE, None)
    work(reconciler, kernel)
    reconciler.want_virtual(WEB, None)
    assert reconciler.leaving == 1
    for _ in range(3):
        reconciler.check_drains()
        assert step(reconciler, kernel, departures=False, now=60.0) == []
    assert kernel.table == web({ONE: ZERO, TWO: TEN})
    assert step(reconciler, kernel, now=60.0) == [WEB]
    assert kernel.table == Table()


# --- laws

VIRTUALS = st.sampled_from([WEB, DNS, MARK])
REALS = st.sampled_from([ONE, TWO, THREE])
WEIGHTS = st.sampled_from([ZERO, FIVE, TEN])
TIMEOUTS = st.sampled_from([0.0, 10.0, 30.0, 60.0])
SETTINGS = st.sampled_from([WLC, RR, ONE_PACKET])
ERRORS = st.sampled_from([0, 0, errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ENOMEM])


class Writing(RuleBasedStateMachine):
    """A reconciler and a kernel that fails, into which others meddle, while what is wanted changes."""

    def __init__(self):
        super().__init__()
        self.kernel = FaultyKernel(table_of([(FOREIGN, RR, {ONE: TEN})]))
        self.now = 0.0
        # how long the real servers of what is ours may drain, as it is on record, and as it was told last
        self.record = {}
        self.timeouts = {}
        self.wanted = Table()
        # since when a real server that is there is not wanted
        self.left = {}
        # the virtual servers that ceased to be wanted and have not been told to go
        self.unwanted = set()
        # whether nobody else has changed anything, so that nothing may be left over
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
        self.unwanted.clear()
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
        self.unwanted.discard(virtual)
        self.reconciler.want_virtual(virtual, VirtualServerSpec(how, timeout))

    @rule(virtual=VIRTUALS)
    def want_no_virtual(self, virtual):
        self.wanted.put_virtual(virtual, None)
        self.unwanted.add(virtual)
        self.reconciler.want_virtual(virtual, None)

    @precondition(lambda self: self.wanted.virtuals)
    @rule(data=st.data(), real=REALS, wanted=st.none() | WEIGHTS, urgent=st.booleans())
    def want_real(self, data, real, wanted, urgent):
        virtual = data.draw(st.sampled_from(list(self.wanted.virtuals)))
        self.wanted.put_real(virtual, real, wanted)
        self.reconciler.want_real(virtual, real, wanted, urgent=urgent)

    @rule(virtual=VIRTUALS, real=st.none() | REALS, weight=st.none() | WEIGHTS)
    def meddle(self, virtual, real, weight):
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
        told = self.hear()
        assert all(virtual not in self.kernel.table.virtuals or virtual not in self.record for virtual in told)

    @rule()
    def retry(self):
        self.reconciler.retry()

    @rule()
    def check_drains(self):
        self.reconciler.check_drains()

    @rule(limit=st.integers(1, 4), departures=st.booleans())
    def step(self, limit, departures=True):
        for virtual in list(self.reconciler.failures.stale):
            self.reconciler.observe_virtual(virtual, self.kernel.read_virtual(virtual))
        in_force = self.record.keys() & self.reconciler.actual.virtuals.keys()
        steps = self.reconciler.next_steps(limit, self.now, self.kernel.connections, departures=departures)
        assert in_force.isdisjoint(self.hear()) or departures, "before it may go"
        assert self.unwanted.isdisjoint(step.virtual for step in steps), "not told"
        assert len(steps) <= limit
        assert len({(step.virtual, step.real) for step in steps}) == len(steps), "twice in one part"
        self.keep_record()
        errors = []
        for done in steps:
            self.judge(done)
            errors += self.kernel.apply([done])
            self.since_when()
        self.reconciler.done(steps, errors)
        self.keep_record()

    @rule(limit=st.integers(1, 50))
    def idle_comes_in_bounded_time(self, limit):
        for _ in range(120):
            self.step(limit)
            if self.reconciler.idle:
                return
        raise AssertionError("there is always more to do")

    @rule(limit=st.integers(1, 50))
    def settle(self, limit):
        self.kernel.faults = []
        self.observe()
        self.idle_comes_in_bounded_time(limit)
        assert not self.reconciler.failures
        self.only_what_is_busy_drains()
        self.now += 100.0
        self.reconciler.check_drains()
        self.idle_comes_in_bounded_time(limit)
        assert not self.reconciler.draining
        table = self.kernel.read()
        others = {v for v in table.virtuals if v not in self.wanted.virtuals and v not in self.record}
        assert others == {FOREIGN} or not self.alone
        for virtual in others:
            table.put_virtual(virtual, None)
        assert table == self.wanted == self.reconciler.desired
        assert self.record == {virtual: self.timeouts[virtual] for virtual in self.wanted.virtuals}
        assert not self.unwanted
        self.kernel.writes.clear()
        self.restart()
        self.idle_comes_in_bounded_time(limit)
        assert self.kernel.writes == []

    @invariant()
    def since_when(self):
        for virtual, reals in self.kernel.table.reals.items():
            for real in reals:
                if real in self.wanted.reals.get(virtual, ()):
                    self.left.pop((virtual, real), None)
                else:
                    self.left.setdefault((virtual, real), self.now)

    def hear(self):
        told = self.reconciler.owned.take_departed()
        assert len(set(told)) == len(told)
        assert self.unwanted.issuperset(told), "told twice, or while it is wanted"
        self.unwanted.difference_update(told)
        return told

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
            assert not self.reconciler.actual.reals[virtual][real].weight, "a connection may come meanwhile"

    def connects(self, virtual):
        """Tell whether the virtual server, as far as is known, has connections that are waited for."""
        if virtual.protocol is not None:
            return virtual.protocol is not Protocol.UDP
        return not self.reconciler.actual.virtuals[virtual].flags & ServiceFlag.ONE_PACKET

    def timeout(self, virtual):
        """Return how long real servers may take: as was told last, or else as is on record."""
        return self.timeouts.get(virtual, self.record.get(virtual, TIMEOUT))

    def only_what_is_busy_drains(self):
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


Writing.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWriting = Writing.TestCase
