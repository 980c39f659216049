"""Real servers that leave while they have connections, and how long they may take.

Time is an argument, in seconds on any clock that does not go back.
"""

from collections.abc import Iterator, Mapping

from clusterf.table import RealServer, VirtualServer

__all__ = ["Drains"]

TIMEOUT = 30.0
"""Seconds; for a virtual server of ours whose configuration is no longer known."""


class Drains:
    """Until when each real server that leaves may finish its connections. True if there is one."""

    def __init__(self) -> None:
        self._timeouts: dict[VirtualServer, float] = {}
        self._until: dict[VirtualServer, dict[RealServer, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def __contains__(self, virtual: VirtualServer) -> bool:
        """Tell whether a real server of the virtual server drains."""
        return virtual in self._until

    def __iter__(self) -> Iterator[tuple[VirtualServer, RealServer]]:
        """Yield each real server that drains."""
        return iter([(virtual, real) for virtual, reals in self._until.items() for real in reals])

    def set_timeout(self, virtual: VirtualServer, seconds: float) -> None:
        """Give the real servers of the virtual server so long, from now on; 0: they do not drain."""
        self._timeouts[virtual] = seconds

    def busy(self, virtual: VirtualServer, real: RealServer, now: float, active: Mapping[RealServer, int]) -> bool:
        """Tell whether the real server has connections, and time left for them, which begins with the first call."""
        timeout = self._timeouts.get(virtual, TIMEOUT)
        if not active.get(real) or not timeout:
            return False
        return now < self._until.setdefault(virtual, {}).setdefault(real, now + timeout)

    def forget(self, virtual: VirtualServer, real: RealServer) -> None:
        """Take it that the real server is wanted again, or gone."""
        reals = self._until.get(virtual, {})
        reals.pop(real, None)
        if not reals:
            self._until.pop(virtual, None)

    def forget_all(self, virtual: VirtualServer) -> None:
        """Take it that the virtual server is gone."""
        self._timeouts.pop(virtual, None)
        self._until.pop(virtual, None)
