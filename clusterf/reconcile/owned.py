"""Which virtual servers are ours at the moment."""

from collections.abc import Iterable, Iterator

from clusterf.ipvs.table import VirtualServer
from clusterf.reconcile.drains import Drains

__all__ = ["OwnedServers"]


class OwnedServers:
    """The virtual servers that are ours, with the changes that are still to be recorded.

    `drains` has the seconds that their real servers may drain.
    """

    def __init__(self, virtuals: Iterable[VirtualServer], drains: Drains) -> None:
        self._virtuals = set(virtuals)
        self._drains = drains
        # whether each is ours, since the last `take_changes`
        self._changes: dict[VirtualServer, bool] = {}

    def __contains__(self, virtual: VirtualServer) -> bool:
        return virtual in self._virtuals

    def __iter__(self) -> Iterator[VirtualServer]:
        return iter(self._virtuals)

    def add(self, virtual: VirtualServer) -> None:
        """Make the virtual server ours."""
        if virtual not in self._virtuals:
            self._virtuals.add(virtual)
            self._changes[virtual] = True

    def discard(self, virtual: VirtualServer) -> None:
        """Make the virtual server nobody's: it is gone."""
        if virtual in self._virtuals:
            self._virtuals.remove(virtual)
            self._changes[virtual] = False

    def set_drain_timeout(self, virtual: VirtualServer, seconds: float) -> None:
        """Set how many seconds the real servers of the virtual server may drain."""
        if self._drains.timeout(virtual) != seconds:
            self._drains.set_timeout(virtual, seconds)
            if virtual in self._virtuals:
                self._changes[virtual] = True

    def take_changes(self) -> dict[VirtualServer, float | None]:
        """Return what has to be recorded of the virtual servers that are ours, since the last call.

        For each the seconds that its real servers may drain; None: it is no longer
        ours. What has become ours has to be recorded before its step is done.
        """
        changes, self._changes = self._changes, {}
        return {virtual: self._drains.timeout(virtual) if ours else None for virtual, ours in changes.items()}
