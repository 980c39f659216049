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
        # when those are proven that are in rotation, and whose check has gone, unless it is back before
        self._unchecked: dict[tuple[VirtualServer, Name, Name], float] = {}

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
        self._unchecked.pop((virtual, service, backend), None)
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

    def uncheck(self, virtual: VirtualServer, service: Name, backend: Name, until: float) -> None:
        """Have a member in rotation whose check has gone be proven then, unless there is a time for it."""
        if self.has(virtual, service, backend):
            self._unchecked.setdefault((virtual, service, backend), until)

    def is_unchecked(self, virtual: VirtualServer, service: Name, backend: Name) -> bool:
        """Tell whether the member's check has gone, and it was in rotation."""
        return (virtual, service, backend) in self._unchecked

    def check(self, virtual: VirtualServer, service: Name, backend: Name, now: float) -> None:
        """Note that a member is checked, perhaps again: it is proven only if its time without a check was over."""
        if self._unchecked.pop((virtual, service, backend), now + 1) <= now:
            self.discard(virtual, service, backend)

    def proving(
        self, virtual: VirtualServer, service: Name, now: float, end: Callable[[Name, float], float]
    ) -> Proving:
        """Tell how it stands with the service's backends in the virtual server.

        `end` returns until when a backend that is there since some time may prove itself.
        """
        for backend in list(self.backends(virtual, service)):
            if self._unchecked.get((virtual, service, backend), now + 1) <= now:
                self.discard(virtual, service, backend)
        members = self._since.get((virtual, service))
        if not members:
            return Proving()
        until = max(
            end(backend, now if since is None else since) if unchecked is None else unchecked
            for backend, since in members.items()
            for unchecked in [self._unchecked.get((virtual, service, backend))]
        )
        return Proving(len(members), until if until > now else None)
