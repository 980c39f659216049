"""Real servers that leave while they have connections, and how long they may take.

Time is an argument, in seconds on any clock that does not go back.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from clusterf.ipvs.table import RealServer, VirtualServer

__all__ = ["TIMEOUT", "Drains"]

TIMEOUT = 30.0
"""Seconds that the real servers of a virtual server may drain if nothing else is recorded."""


class Drains:
    """Since when each real server that leaves has been draining. True if one drains.

    `timeouts`: how many seconds the real servers of a virtual server may drain; 0: not at all.
    """

    def __init__(self, timeouts: Mapping[VirtualServer, float] = MappingProxyType({})) -> None:
        self._timeouts = dict(timeouts)
        self._since: dict[VirtualServer, dict[RealServer, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._since)

    def __contains__(self, virtual: VirtualServer) -> bool:
        """Tell whether a real server of the virtual server drains."""
        return virtual in self._since

    def __iter__(self) -> Iterator[tuple[VirtualServer, RealServer]]:
        """Yield each real server that drains."""
        return iter([(virtual, real) for virtual, reals in self._since.items() for real in reals])

    def set_timeout(self, virtual: VirtualServer, seconds: float) -> None:
        """Set how many seconds real servers of the virtual server may drain; this counts for running drains, too."""
        self._timeouts[virtual] = seconds

    def timeout(self, virtual: VirtualServer) -> float:
        """Return how many seconds real servers of the virtual server may drain."""
        return self._timeouts.get(virtual, TIMEOUT)

    def has_time(self, virtual: VirtualServer, real: RealServer, now: float) -> bool:
        """Tell whether the real server may go on draining; its drain begins with the first call."""
        timeout = self.timeout(virtual)
        return timeout > 0 and now < self._since.setdefault(virtual, {}).setdefault(real, now) + timeout

    def forget(self, virtual: VirtualServer, real: RealServer) -> None:
        """End the drain of a real server that is desired again, or gone."""
        reals = self._since.get(virtual, {})
        reals.pop(real, None)
        if not reals:
            self._since.pop(virtual, None)

    def forget_all(self, virtual: VirtualServer) -> None:
        """End all drains in a virtual server that is gone, and drop its timeout."""
        self._timeouts.pop(virtual, None)
        self._since.pop(virtual, None)
