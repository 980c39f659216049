"""Real servers that leave while they have connections, and how long they may take.

Time is an argument, in seconds on any clock that does not go back.
"""

from collections.abc import Iterator

from clusterf.ipvs.table import RealServer, VirtualServer

__all__ = ["TIMEOUT", "Drains"]

TIMEOUT = 30.0
"""Seconds; for a virtual server of ours of which it is not known how long its real servers may take."""


class Drains:
    """Since when each real server that leaves finishes its connections. True if there is one."""

    def __init__(self) -> None:
        self._timeouts: dict[VirtualServer, float] = {}
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
        """Give the real servers of the virtual server so long, those too that drain already; 0: they do not drain."""
        self._timeouts[virtual] = seconds

    def timeout(self, virtual: VirtualServer) -> float:
        """Return how many seconds the real servers of the virtual server may take."""
        return self._timeouts.get(virtual, TIMEOUT)

    def has_time(self, virtual: VirtualServer, real: RealServer, now: float) -> bool:
        """Tell whether the real server has time left for its connections; it begins with the first call."""
        timeout = self.timeout(virtual)
        return timeout > 0 and now < self._since.setdefault(virtual, {}).setdefault(real, now) + timeout

    def forget(self, virtual: VirtualServer, real: RealServer) -> None:
        """Take it that the real server is wanted again, or gone."""
        reals = self._since.get(virtual, {})
        reals.pop(real, None)
        if not reals:
            self._since.pop(virtual, None)

    def forget_all(self, virtual: VirtualServer) -> None:
        """Take it that the virtual server is gone."""
        self._timeouts.pop(virtual, None)
        self._since.pop(virtual, None)
