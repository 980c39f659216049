"""What is in force although the configuration no longer has it, and why it is to leave."""

from collections import Counter
from collections.abc import Iterator

from clusterf.config.model import Name
from clusterf.director.merger import Origin
from clusterf.ipvs.table import RealServer, VirtualServer

__all__ = ["Departures"]


class Departures:
    """Virtual and real servers that are to leave. True if there are any.

    With a virtual server all real servers that are in force there are to leave, too.
    """

    def __init__(self) -> None:
        self.virtuals: dict[VirtualServer, Origin] = {}
        self.reals: dict[VirtualServer, dict[RealServer, Origin]] = {}
        # the weight of these real servers, and how many of them have any
        self.weight = 0
        self.weighted = 0
        self._services: Counter[Name | None] = Counter()
        self._publishers: Counter[str | None] = Counter()

    def __bool__(self) -> bool:
        return bool(self.virtuals or self.reals)

    @property
    def one_cause(self) -> bool:
        """Whether all belongs to one service, or was published by one node."""
        return any(len(causes) == 1 and None not in causes for causes in (self._services, self._publishers))

    def add_virtual(self, virtual: VirtualServer, origin: Origin) -> None:
        """Have a virtual server leave."""
        self.discard_virtual(virtual)
        self.virtuals[virtual] = origin
        self._count(origin, 1)

    def discard_virtual(self, virtual: VirtualServer) -> None:
        """Have the virtual server stay; its real servers still are to leave."""
        origin = self.virtuals.pop(virtual, None)
        if origin is not None:
            self._count(origin, -1)

    def add_real(self, virtual: VirtualServer, real: RealServer, origin: Origin, weight: int) -> None:
        """Have a real server leave that has this weight, unless it is about to."""
        if real not in self.reals.get(virtual, ()):
            self.reals.setdefault(virtual, {})[real] = origin
            self._count(origin, 1)
            self._weigh(weight, 1)

    def discard_real(self, virtual: VirtualServer, real: RealServer, weight: int) -> None:
        """Have a real server stay that has this weight."""
        reals = self.reals.get(virtual, {})
        origin = reals.pop(real, None)
        if origin is not None:
            self._count(origin, -1)
            self._weigh(weight, -1)
            if not reals:
                del self.reals[virtual]

    def take_reals(self) -> Iterator[tuple[VirtualServer, RealServer]]:
        """Return all real servers whose virtual server stays; from now on nothing leaves."""
        reals, virtuals = self.reals, self.virtuals
        self.virtuals, self.reals, self.weight, self.weighted = {}, {}, 0, 0
        self._services.clear()
        self._publishers.clear()
        return ((virtual, real) for virtual in reals.keys() - virtuals.keys() for real in reals[virtual])

    def _weigh(self, weight: int, sign: int) -> None:
        self.weight += sign * weight
        self.weighted += sign * (weight > 0)

    def _count(self, origin: Origin, sign: int) -> None:
        self._services[origin.service] += sign
        self._publishers[origin.publisher] += sign
        if not self._services[origin.service]:
            del self._services[origin.service]
        if not self._publishers[origin.publisher]:
            del self._publishers[origin.publisher]
