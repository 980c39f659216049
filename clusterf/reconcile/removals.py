"""The steps that remove servers, as far as their connections allow it at the moment.

A real server that has connections is drained: it gets weight 0, and is removed
when it has none or its time is up. One with inactive connections only gets weight
0 as well, and is removed after a second check: with a weight it could get a
connection between the check and its removal.
"""

from collections.abc import Callable, Mapping

import msgspec

from clusterf.ipvs.table import ConnectionCount, Op, RealServer, ServiceFlag, Step, Table, VirtualServer
from clusterf.lib.addresses import Protocol
from clusterf.reconcile.drains import Drains

__all__ = ["Connections", "Removals"]

Connections = Callable[[VirtualServer], Mapping[RealServer, ConnectionCount]]
"""Counts the connections of the real servers of a virtual server. May raise OSError."""

_NONE = ConnectionCount(0, 0)


class Removals:
    """Chooses between removing and draining, at the moment `now` (seconds on the clock of `drains`).

    The connections of a virtual server are counted once, when they are first needed,
    so every method may raise what `count` raises.
    """

    def __init__(self, desired: Table, actual: Table, drains: Drains, count: Connections, now: float) -> None:
        self._desired = desired
        self._actual = actual
        self._drains = drains
        self._count = count
        self._now = now
        # by virtual server, counted and compared once
        self._connections: dict[VirtualServer, Mapping[RealServer, ConnectionCount]] = {}
        self._unreplaced: dict[VirtualServer, bool] = {}

    def unreplaced(self, virtual: VirtualServer) -> bool:
        """Tell whether none of the desired real servers is there and takes connections."""
        if virtual not in self._unreplaced:
            desired, actual = self._desired.reals.get(virtual, {}), self._actual.reals.get(virtual, {})
            self._unreplaced[virtual] = not any(real in actual and actual[real].weight for real in desired)
        return self._unreplaced[virtual]

    def remove_virtual(self, virtual: VirtualServer) -> list[Step]:
        """Return the step that removes a virtual server, or those for its real servers while one has to drain."""
        reals = [(real, self._may_leave(virtual, real)) for real in self._actual.reals[virtual]]
        if all(may_leave for _, may_leave in reals):
            return [Step(Op.REMOVE_VIRTUAL, virtual)]
        return [step for real, may_leave in reals for step in self._leave(virtual, real, may_leave=may_leave)]

    def remove_real(self, virtual: VirtualServer, real: RealServer) -> list[Step]:
        """Return the step that removes or drains a real server; none if it drains already."""
        return self._leave(virtual, real, may_leave=self._may_leave(virtual, real))

    def _leave(self, virtual: VirtualServer, real: RealServer, *, may_leave: bool) -> list[Step]:
        if may_leave:
            return [Step(Op.REMOVE_REAL, virtual, real)]
        settings = self._actual.reals[virtual][real]
        if settings.weight == 0:
            return []
        return [Step(Op.EDIT_REAL, virtual, real, msgspec.structs.replace(settings, weight=0))]

    def _may_leave(self, virtual: VirtualServer, real: RealServer) -> bool:
        count = self._connections_of(virtual).get(real, _NONE)
        if count.active:
            return not self._drains.has_time(virtual, real, self._now)
        weight = self._actual.reals[virtual][real].weight
        return not (count.inactive and weight and self._drains.timeout(virtual))

    def _connections_of(self, virtual: VirtualServer) -> Mapping[RealServer, ConnectionCount]:
        """Return the connections that are waited for, by real server; none where they are not."""
        if virtual not in self._connections:
            self._connections[virtual] = self._count(virtual) if self._waits_for_connections(virtual) else {}
        return self._connections[virtual]

    def _waits_for_connections(self, virtual: VirtualServer) -> bool:
        if virtual.protocol is not None:
            return virtual.protocol is not Protocol.UDP
        return not self._actual.virtuals[virtual].flags & ServiceFlag.ONE_PACKET
