"""New backends that have not been up yet, and how long they may take to prove themselves."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from clusterf.config.model import Name
from clusterf.ipvs.table import VirtualServer

__all__ = ["GRACE", "LONGEST", "Proving", "Unproven"]

GRACE = 60.0
"""Seconds that a backend has in addition that awaits a verdict: its probes may have been delayed."""
LONGEST = 600.0
"""The most seconds that a check gives a backend: others that have left stay in force for so long."""


class Proving(NamedTuple):
    """The unproven backends of a service in a virtual server: how many, and until when they may prove themselves.

    `until` None: they have had their time. `weight`: of those that are in rotation nevertheless.
    """

    unproven: int = 0
    until: float | None = None
    weight: int = 0


class Unproven:
    """Since when members are there that have not been up. Times are in seconds, on one clock."""

    def __init__(self) -> None:
        # None: since the next `stamp`
        self._since: dict[tuple[VirtualServer, Name], dict[Name, float | None]] = {}

    def has(self, virtual: VirtualServer, service: Name, backend: Name) -> bool:
        """Tell whether the service's backend is unproven in the virtual server."""
        return backend in self._since.get((virtual, service), ())

    def backends(self, virtual: VirtualServer, service: Name) -> Iterator[Name]:
        """Yield the service's unproven backends in the virtual server."""
        yield from self._since.get((virtual, service), ())

    def add(self, virtual: VirtualServer, service: Name, backend: Name) -> None:
        """Make a member unproven, from its first `stamp` on."""
        self._since.setdefault((virtual, service), {})[backend] = None

    def discard(self, virtual: VirtualServer, service: Name, backend: Name) -> None:
        """Note that the member has been up, or is gone."""
        members = self._since.get((virtual, service))
        if members is not None:
            members.pop(backend, None)
            if not members:
                del self._since[virtual, service]

    def stamp(self, virtual: VirtualServer, service: Name, backend: Name, now: float) -> None:
        """Have the time of a new member run from now on."""
        members = self._since.get((virtual, service), {})
        if backend in members and members[backend] is None:
            members[backend] = now

    def proving(
        self, virtual: VirtualServer, service: Name, now: float, end: Callable[[Name, float], float]
    ) -> Proving:
        """Tell how it stands with the service's backends in the virtual server.

        `end` returns until when a backend that is there since some time may prove itself.
        """
        members = self._since.get((virtual, service))
        if not members:
            return Proving()
        until = max(end(backend, now if since is None else since) for backend, since in members.items())
        return Proving(len(members), until if until > now else None)
