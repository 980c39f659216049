"""One configuration, and the same changes from outside, for the kernel and for its shadow.

After any history both tables end as the one that the tests' own rules derive from
the configuration, plus foreign virtual servers, and by the same steps.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from clusterf.config.model import BackendKey, FrontendKey
from clusterf.director.merger import Merged, RealServerWanted, VirtualServerWanted
from clusterf.ipvs.diff import diff
from clusterf.ipvs.kernel import Kernel
from clusterf.ipvs.netlink.client import NetlinkIpvs, open_kernel
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
    VirtualServer,
    VirtualServerSettings,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol
from clusterf.reconcile.reconciler import Reconciler
from tests.clusterf.support.kernel_refusals import REFUSALS, TABLE
from tests.clusterf.support.pipeline import Pipeline
from tests.clusterf.support.reference_model import expected
from tests.clusterf.support.strategies import (
    BACKENDS,
    IPV4,
    IPV6,
    SERVICES,
    VIP4,
    backends,
    frontends,
    node_defaults,
    updates,
)
from tests.examples import examples
from tests.system.support.netns import network_namespace

pytestmark = pytest.mark.ipvs

ROUNDS = 200  # of a settling that would never end

# what the configurations of `updates` may claim, and more
VIPS = [IPv4Address("198.51.100.1"), IPv4Address("198.51.100.1"), IPv6Address("fd00:ff::1")]
virtuals = st.builds(
    lambda vip, protocol, port: VirtualServer(Family.of(vip), protocol, vip, port),
    *(st.sampled_from(VIPS), st.sampled_from(Protocol), st.sampled_from([80, 81])),
) | st.builds(VirtualServer, st.sampled_from(Family), fwmark=st.sampled_from([1, 2]))
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.9.9.9", "224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"]
ADDRESSES6 = ["fd00::1", "2001:db8::1", "fe80::1", "ff02::1", "::", "::1", "::ffff:10.0.0.1"]
reals = st.builds(
    RealServer,
    st.sampled_from([*map(IPv4Address, [*ADDRESSES[:3] * 3, *ADDRESSES]), *map(IPv6Address, ADDRESSES6)]),
    st.sampled_from([80, 81]),
)
weighs = st.builds(
    RealServerSettings,
    st.sampled_from([Method.MASQ, Method.TUNNEL, Method.DROUTE]),
    st.sampled_from([0, 1, 10, 70000, 2**31 - 1]),
    st.sampled_from([0, 0, 0, 5]),
    st.sampled_from([0, 0, 0, 9]),
)


def balances(virtual: VirtualServer) -> st.SearchStrategy[VirtualServerSettings]:
    """Return settings for it, some of which the kernel does not take."""
    neutral = 0xFFFFFFFF if virtual.family is Family.IPV4 else 128
    plain = st.builds(
        VirtualServerSettings,
        st.sampled_from(["rr", "wlc"]),
        *(st.sampled_from([ServiceFlag(0), ServiceFlag.ONE_PACKET, ServiceFlag.SCHED_1]), st.just(0), st.just(neutral)),
    )
    netmasks = [0, 0xFFFFFF00] if virtual.family is Family.IPV4 else [0, 64, 129]
    persistent = st.builds(
        VirtualServerSettings,
        *(st.just("wlc"), st.just(ServiceFlag.PERSISTENT), st.sampled_from([30, 300]), st.sampled_from(netmasks)),
    )
    return plain | persistent


meddling = st.one_of(
    virtuals.flatmap(lambda v: st.builds(Step, st.just(Op.ADD_VIRTUAL), st.just(v), st.none(), balances(v))),
    virtuals.flatmap(lambda v: st.builds(Step, st.just(Op.ADD_VIRTUAL), st.just(v), st.none(), balances(v))),
    virtuals.flatmap(lambda v: st.builds(Step, st.just(Op.EDIT_VIRTUAL), st.just(v), st.none(), balances(v))),
    st.builds(Step, st.just(Op.REMOVE_VIRTUAL), virtuals),
    st.builds(Step, st.sampled_from([Op.ADD_REAL, Op.ADD_REAL, Op.EDIT_REAL]), virtuals, reals, weighs),
    st.builds(Step, st.just(Op.REMOVE_REAL), virtuals, reals),
)
# objects that make something, which most of `updates` do not
ports = st.sampled_from([80, 81])
makers = st.one_of(
    st.tuples(
        st.builds(FrontendKey, SERVICES),
        st.builds(
            lambda frontend, vip, port: replace(frontend, ipv4=frontend.ipv4 or vip, tcp=port), frontends, VIP4, ports
        ),
    ),
    *[
        st.tuples(
            st.builds(BackendKey, SERVICES, BACKENDS),
            st.builds(
                lambda backend, in4, in6, port: replace(backend, ipv4=in4, ipv6=in6, tcp=port, udp=port),
                *(backends, IPV4, IPV6, ports),
            ),
        )
    ]
    * 3,
)
actions = st.one_of(
    *[st.tuples(st.just("put"), updates, st.booleans())] * 3,
    *[st.tuples(st.just("put"), makers, st.booleans())] * 3,
    st.tuples(st.just("flash"), makers),
    *[st.tuples(st.just("meddle"), st.lists(meddling, min_size=1, max_size=6))] * 3,
    *[st.tuples(st.just("spoil"), st.integers(0, 2**16), st.integers(0, 3))] * 2,
    *[st.tuples(st.just("work"), st.integers(1, 6))] * 3,
    st.tuples(st.just("connect"), reals, st.sampled_from([0, 0, 3])),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 40.0])),
    st.tuples(st.just("observe")),
    st.tuples(st.just("retry")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("clear")),
    *[st.tuples(st.just("settle"))] * 2,
)


def ordered(table: Table) -> Table:
    """Return the table in an order of its own, as the kernel's is another than the shadow's."""
    rows = ((v, table.virtuals[v], table.reals[v]) for v in sorted(table.virtuals, key=str))
    return table_of((v, how, dict(sorted(found.items(), key=lambda item: str(item[0])))) for v, how, found in rows)


class Side:
    """A kernel, the reconciler that keeps it, and the record of what that made."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.record: dict[VirtualServer, float] = {}
        self.reconciler = Reconciler()
        self.active: dict[RealServer, int] = {}

    def restart(self) -> None:
        self.reconciler = Reconciler(self.record)

    def want(self, items: list[Merged], *, urgent: bool = False) -> None:
        for item in items:
            match item:
                case VirtualServerWanted(virtual, claim):
                    self.reconciler.want_virtual(virtual, claim)
                case RealServerWanted(virtual, real, how):
                    self.reconciler.want_real(virtual, real, how, urgent=urgent)

    def observe(self) -> list[Step]:
        drift = self.reconciler.observe(ordered(self.kernel.read()))
        self._keep_record()
        return drift

    def work(self, limit: int, now: float) -> tuple[list[Step], list[int]]:
        """Do one part, as the writer does; return its steps and what became of them."""
        for virtual in list(self.reconciler.failures.stale):
            state = self.kernel.read_virtual(virtual)
            found = ordered(table_of([(virtual, *state)])) if state else None
            self.reconciler.observe_virtual(virtual, found and (found.virtuals[virtual], found.reals[virtual]))
        steps = self.reconciler.next_steps(limit, now, self._connections)
        self._keep_record()
        errors = self.kernel.apply(steps)
        self.reconciler.done(steps, errors)
        self._keep_record()
        return steps, errors

    def _connections(self, virtual: VirtualServer) -> dict[RealServer, ConnectionCount]:
        """Return as many as the test wants, for those that are there."""
        return {real: ConnectionCount(self.active.get(real, 0), 0) for real in self.kernel.connections(virtual)}

    def _keep_record(self) -> None:
        for virtual, seconds in self.reconciler.owned.take_changes().items():
            if seconds is None:
                self.record.pop(virtual, None)
            else:
                self.record[virtual] = seconds


class Shadow(ShadowKernel):
    """A shadow that knows which real servers are there."""

    def connections(self, virtual: VirtualServer) -> dict[RealServer, ConnectionCount]:
        return dict.fromkeys(self.table.reals.get(virtual, ()), ConnectionCount(0, 0))


class Model:
    """The kernel and its shadow, and what is to be in both."""

    def __init__(self, kernel: NetlinkIpvs, defaults) -> None:
        self.defaults = defaults
        self.configuration = {}
        self.shadow = Shadow()
        self.sides = Side(kernel), Side(self.shadow)
        self.now = 0.0
        # what others made, and nobody but they may change
        self.foreign = Table()
        # what others made anew of ours, which may be taken for theirs or for ours
        self.disputed: set[VirtualServer] = set()
        # whether others changed anything that we have not seen
        self.meddled = False
        self.restart()

    @property
    def record(self) -> dict[VirtualServer, float]:
        return self.sides[1].record

    def restart(self) -> None:
        self.pipeline = Pipeline(self.defaults)
        for key, value in self.configuration.items():
            self.pipeline.resolver.update(key, value)
        _, merged = self.pipeline.flush()
        for side in self.sides:
            side.restart()
            side.want(merged)
        self.observe()

    def flash(self, update) -> None:
        """Put what is taken back before anything is done about it."""
        key, _ = update
        if key not in self.configuration:
            self.put(update)
            self.put((key, None))

    def put(self, update, urgent: bool = False) -> None:
        key, value = update
        self.configuration.pop(key, None)
        if value is not None:
            self.configuration[key] = value
        _, merged = self.pipeline.put(key, value)
        for side in self.sides:
            side.want(merged, urgent=urgent)

    def meddle(self, steps: list[Step]) -> None:
        self.meddled = True
        for step in steps:
            present = step.virtual in self.shadow.table.virtuals
            real, shadow = (side.kernel.apply([step]) for side in self.sides)
            assert real == shadow, step
            if shadow == [0] and step.virtual not in self.record:
                self.foreign.apply(step)
            elif shadow == [0] and not present:
                self.disputed.add(step.virtual)

    def spoil(self, which: int, how: int) -> None:
        """Change something that is there."""
        there = list(ordered(self.shadow.table).virtuals)
        if not there:
            return
        virtual = there[which % len(there)]
        inside = sorted(self.shadow.table.reals[virtual], key=str)
        if how == 0 or not inside:
            self.meddle([Step(Op.REMOVE_VIRTUAL, virtual)])
        elif how == 1:
            self.meddle([Step(Op.REMOVE_REAL, virtual, inside[which % len(inside)])])
        else:
            self.meddle(
                [Step(Op.EDIT_REAL, virtual, inside[which % len(inside)], RealServerSettings(Method.TUNNEL, how))]
            )

    def clear(self) -> None:
        self.meddled = True
        for side in self.sides:
            side.kernel.flush()
        self.foreign = Table()
        self.disputed.clear()

    def connect(self, real: RealServer, count: int) -> None:
        for side in self.sides:
            side.active[real] = count

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for side in self.sides:
            side.reconciler.check_drains()

    def observe(self) -> None:
        self.meddled = False
        drifts = [side.observe() for side in self.sides]
        assert drifts[0] == drifts[1]
        self._take_over()

    def retry(self) -> None:
        for side in self.sides:
            side.reconciler.retry()

    def work(self, limit: int) -> list[Step]:
        done, same = (side.work(limit, self.now) for side in self.sides)
        assert done == same
        assert self.sides[0].record == self.sides[1].record
        self._take_over()
        return done[0]

    def _take_over(self) -> None:
        """Count recorded virtual servers as ours, no longer as foreign."""
        for virtual in self.record:
            self.foreign.put_virtual(virtual, None)

    def settle(self) -> None:
        if self.meddled:
            self.observe()
        self._until_idle()
        self.wait(100.0)
        self._until_idle()
        self.wait(100.0)
        self._until_idle()
        for side in self.sides:
            assert not side.reconciler.failures
            assert not side.reconciler.draining
        wanted, _ = expected(self.configuration, self.defaults)
        self._judge(wanted)
        assert self.record.keys() == wanted.virtuals.keys()
        self.observe()
        assert self.work(50) == [], "what was written is not what was wanted"

    def _until_idle(self) -> None:
        for _ in range(ROUNDS):
            self.work(50)
            if self.sides[1].reconciler.idle:
                assert self.sides[0].reconciler.idle
                return
        raise AssertionError("there is always more to do")

    def _judge(self, wanted: Table) -> None:
        table = self.sides[0].kernel.read()
        assert table == self.shadow.table
        for virtual in self.disputed & table.virtuals.keys() - wanted.virtuals.keys():
            self.foreign.put_virtual(virtual, table.virtuals[virtual])
            self.foreign.reals[virtual] = dict(table.reals[virtual])
        self.disputed.clear()
        for virtual in wanted.virtuals:
            self.foreign.put_virtual(virtual, None)
        assert table.virtuals == wanted.virtuals | self.foreign.virtuals
        assert table.reals == wanted.reals | self.foreign.reals


@pytest.fixture(scope="module")
def kernel() -> Iterator[NetlinkIpvs]:
    with network_namespace():
        kernel = open_kernel()
        yield kernel
        kernel.close()


@pytest.mark.parametrize(("step", "error"), REFUSALS)
def test_kernel_refuses_what_its_shadow_refuses(kernel: NetlinkIpvs, step, error) -> None:
    kernel.flush()
    assert kernel.apply(list(diff(TABLE, Table()))) == [0] * 4
    assert kernel.apply([step]) == [error]
    assert kernel.read() == TABLE


# (to make a failure shorter would take minutes in the lab's kernel)
@settings(max_examples=examples(100), phases=[Phase.generate])
@given(node_defaults, st.lists(makers, min_size=6, max_size=20), st.lists(actions, min_size=6, max_size=50))
def test_kernel_shadow_and_rules_agree(kernel: NetlinkIpvs, defaults, made, actions) -> None:
    kernel.flush()
    model = Model(kernel, defaults)
    for update in made:
        model.put(update)
    for name, *arguments in actions:
        getattr(model, name)(*arguments)
    model.settle()
