"""A reconciler on a kernel in memory that can fail, and servers to write there."""

from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from clusterf.ipvs.shadow import ShadowKernel
from clusterf.ipvs.table import (
    ConnectionCount,
    Method,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    VirtualServer,
    VirtualServerSettings,
    VirtualServerSpec,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol
from clusterf.reconcile.reconciler import Reconciler

__all__ = [
    "CLAIM",
    "DNS",
    "FIVE",
    "FOREIGN",
    "FOUR",
    "MARK",
    "ONE",
    "ONE_PACKET",
    "RR",
    "TEN",
    "THREE",
    "TWO",
    "WEB",
    "WLC",
    "ZERO",
    "FaultyKernel",
    "busy_writing",
    "settled",
    "started",
    "web",
    "work",
]

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
    raise AssertionError("never idle")


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


def busy_writing(count=20):
    """Return a reconciler with much to do in its virtual server, where ONE and TWO are in force."""
    reconciler, kernel = settled({ONE: TEN, TWO: TEN})
    for number in range(count):
        reconciler.want_real(WEB, RealServer(IPv4Address("10.1.0.0") + number, 80), TEN)
    return reconciler, kernel
