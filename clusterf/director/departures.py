"""What is in force although the configuration no longer has it, since when, and why it is to leave."""

from collections import Counter
from collections.abc import Set as AbstractSet
from math import inf
from typing import NamedTuple

from clusterf.config.model import Name
from clusterf.director.merger import Origin
from clusterf.ipvs.table import RealServer, VirtualServer
from clusterf.lib.mapping import put
from clusterf.reconcile.kept_record import NONE_KEPT, Kept

__all__ = ["Departure", "Departures"]


class Departure(NamedTuple):
    """Where something that leaves came from, since when it is to leave, in seconds, and its weight."""

    origin: Origin
    since: float
    weight: int = 0


class Departures:
    """Virtual and real servers that are to leave. True if there are any.

    With a virtual server all real servers that are in force there are to leave, too. While there are doubts, what
    is found in the kernel with weight, and may be of the doubted sources, stays apart, as *kept*, and does not count.
    """

    def __init__(self) -> None:
        # why what is found may be of these sources; and the doubts, as long as they last, with which it was decided
        # what to keep
        self.doubts: dict[str, str] = {}
        self._considered: dict[str, str] = {}
        self._decided = False
        # what may be kept at all, None: everything
        self._candidates: AbstractSet[tuple[VirtualServer, RealServer | None]] | None = None
        self._kept: dict[tuple[VirtualServer, RealServer | None], Departure] = {}
        self.virtuals: dict[VirtualServer, Departure] = {}
        self.reals: dict[VirtualServer, dict[RealServer, Departure]] = {}
        # the weight of these real servers, and how many of them have any
        self.weight = 0
        self.weighted = 0
        self._services: Counter[Name | None] = Counter()
        self._publishers: Counter[str | None] = Counter()

    def __bool__(self) -> bool:
        return bool(self.virtuals or self.reals)

    @property
    def kept(self) -> Kept:
        """What is kept, and with which doubts that was decided."""
        if not self._considered and not self._kept:
            return NONE_KEPT
        doubts = frozenset(f"{source}: {reason}" for source, reason in self._considered.items())
        return Kept(doubts, frozenset(self._kept))

    @property
    def one_cause(self) -> bool:
        """Whether all belongs to one service, or was published by one node."""
        return any(len(causes) == 1 and None not in causes for causes in (self._services, self._publishers))

    def add_virtual(self, virtual: VirtualServer, departure: Departure) -> None:
        """Have a virtual server leave."""
        self.discard_virtual(virtual)
        if self._keeps(virtual, None, departure):
            self._kept[virtual, None] = departure
            return
        self.virtuals[virtual] = departure
        self._count(departure, 1)

    def discard_virtual(self, virtual: VirtualServer) -> None:
        """Have the virtual server stay; its real servers still are to leave."""
        self._kept.pop((virtual, None), None)
        departure = self.virtuals.pop(virtual, None)
        if departure is not None:
            self._count(departure, -1)

    def add_real(self, virtual: VirtualServer, real: RealServer, departure: Departure) -> None:
        """Have a real server leave, unless it is about to."""
        if departure.weight and self._keeps(virtual, real, departure):
            self._kept[virtual, real] = departure
        elif real not in self.reals.get(virtual, ()):
            self._kept.pop((virtual, real), None)
            self.reals.setdefault(virtual, {})[real] = departure
            self._count(departure, 1)

    def discard_real(self, virtual: VirtualServer, real: RealServer) -> None:
        """Have a real server stay."""
        self._kept.pop((virtual, real), None)
        reals = self.reals.get(virtual, {})
        departure = reals.pop(real, None)
        if departure is not None:
            self._count(departure, -1)
            if not reals:
                del self.reals[virtual]

    def doubt(self, source: str, reason: str | None) -> None:
        """Note why what is found may be of the source; None: it is not."""
        put(self.doubts, source, reason)
        if not self._decided:
            put(self._considered, source, reason)
        elif self._considered.get(source) != reason:
            # what a new doubt is about is still wanted here; the next director finds it, and has to decide
            self._considered.pop(source, None)

    def resume(self, before: Kept) -> None:
        """Keep what was kept before, and nothing else, if there are no other doubts than then."""
        self._candidates = before.servers if self.kept.doubts <= before.doubts else None

    def decided(self) -> None:
        """Note that all was found: nothing else is kept."""
        self._candidates = frozenset()
        self._decided = True

    def release_kept(self, now: float) -> None:
        """Have what was kept leave, as of `now`."""
        kept, self._kept, self.doubts = self._kept, {}, {}
        for (virtual, real), departure in kept.items():
            if real is None:
                self.add_virtual(virtual, departure._replace(since=now))
            else:
                self.add_real(virtual, real, departure._replace(since=now))

    def take(self, latest: float = inf) -> tuple[list[VirtualServer], list[tuple[VirtualServer, RealServer]]]:
        """Return what was to leave at `latest` or before, of real servers those whose virtual server does not.

        They are no longer among these.
        """
        virtuals = [virtual for virtual, departure in self.virtuals.items() if departure.since <= latest]
        for virtual in virtuals:
            self.discard_virtual(virtual)
            for real in list(self.reals.get(virtual, ())):
                self.discard_real(virtual, real)
        reals = [
            (virtual, real)
            for virtual, departing in self.reals.items()
            for real, departure in departing.items()
            if departure.since <= latest
        ]
        for virtual, real in reals:
            self.discard_real(virtual, real)
        return virtuals, reals

    def _keeps(self, virtual: VirtualServer, real: RealServer | None, departure: Departure) -> bool:
        if not self.doubts or departure.origin.service is not None:
            return False
        return self._candidates is None or (virtual, real) in self._candidates

    def _count(self, departure: Departure, sign: int) -> None:
        origin = departure.origin
        self.weight += sign * departure.weight
        self.weighted += sign * (departure.weight > 0)
        self._services[origin.service] += sign
        self._publishers[origin.publisher] += sign
        if not self._services[origin.service]:
            del self._services[origin.service]
        if not self._publishers[origin.publisher]:
            del self._publishers[origin.publisher]
