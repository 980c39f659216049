"""An IpvsWriter on a kernel in memory, and messages to it."""

from ipaddress import ip_address

from actors.base.messages import Ping, Upstream
from actors.base.process import Host
from actors.director import ipvs_writer
from actors.director.ipvs_writer import IpvsWriter, Options
from actors.director.messages import MergedUpdate
from clusterf.config.problems import Problem, ProblemsOf
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from clusterf.ipvs.table import (
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
from clusterf.lib.store import Store
from clusterf.reconcile.companions import Companions
from clusterf.reconcile.ownership import Ownership
from tests.actors.support.between import between_messages
from tests.actors.support.recorder import Recorder
from tests.waiting import wait_until

__all__ = [
    "BAD",
    "TWELVE",
    "WARNED",
    "WLC",
    "Writing",
    "gone",
    "real",
    "table",
    "virtual",
    "wanted",
    "weighing",
]

WLC = VirtualServerSettings("wlc", ServiceFlag(0), 0, 0xFFFFFFFF)
BAD = ProblemsOf("web", (Problem("s", b"p", "f", "bad", fatal=True),))
WARNED = ProblemsOf("web", (Problem("s", b"p", "f", "odd", fatal=False),))
TWELVE = {f"v{number}": {1: 1} for number in range(1, 13)}
BUSY = {ipvs_writer._Self.RECONCILE}


def virtual(number):
    return VirtualServer(Family.IPV4, Protocol.TCP, ip_address(f"10.1.1.{number}"), 80)


def real(number):
    return RealServer(ip_address(f"10.2.2.{number}"), 80)


def weighing(weight):
    return RealServerSettings(Method.MASQ, weight)


def table(**reals):
    """Return a table of virtual servers v1, v2…, each with its real servers' weights by number."""
    rows = [
        (virtual(int(name[1:])), WLC, {real(number): weighing(weight) for number, weight in weights.items()})
        for name, weights in reals.items()
    ]
    return table_of(rows)


def wanted(**reals):
    """Return the items of an update by which such a table is desired."""
    items = []
    for name, weights in reals.items():
        items.append(VirtualServerWanted(virtual(int(name[1:])), VirtualServerSpec(WLC, 30.0)))
        items += [RealServerWanted(virtual(int(name[1:])), real(n), w and weighing(w)) for n, w in weights.items()]
    return items


class Writing:
    """A writer on a kernel in memory, with what it has told others."""

    def __init__(self, kernel, path):
        self.kernel = kernel
        self.path = path
        # the exit statuses with which it has ended the node
        self.finished = []
        self.flushed = 0
        # gets the messages that the writer sends upstream
        self.upstream = Recorder.start()
        self.ref = None

    def start(self, *, follower=None, **options):
        def count_flush():
            self.flushed += 1

        self.ref = IpvsWriter.start(
            self.kernel,
            Ownership(Store(self.path)),
            Companions(follower=follower, noop=options.get("noop", False)),
            Options(**options),
            Host(self.finished.append, count_flush, None),
        )
        self.actor = self.ref._actor_weakref()
        self.ref.tell(Upstream(self.upstream))
        return self

    @property
    def sent(self):
        """The messages that the writer has sent upstream so far."""
        self.ref.ask(Ping(), timeout=10)
        self.upstream.ask(Ping(), timeout=10)
        return [message for message in self.upstream._actor_weakref().messages if not isinstance(message, Ping)]

    def want(self, *items, synced=True, urgent=False, **reals):
        self.ref.tell(MergedUpdate((*items, *wanted(**reals)), synced, "config", urgent))
        return self

    def settled(self):
        """Wait until nothing is left to do for all messages sent so far."""

        def is_settled():
            return between_messages(self.ref, lambda: self.actor._reconciler.idle and not self.actor._due & BUSY)

        wait_until(is_settled)
        return self


def gone(*numbers):
    """Return the items of an update by which these virtual servers are not desired."""
    return [VirtualServerWanted(virtual(number), None) for number in numbers]
