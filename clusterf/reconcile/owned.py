"""Which virtual servers are ours at the moment, and which of them have ceased to be desired."""

from collections.abc import Iterable, Iterator

from clusterf.ipvs.table import VirtualServer
from clusterf.reconcile.drains import Drains

__all__ = ["OwnedServers"]


class OwnedServers:
    """The virtual servers that are ours, with the changes that are still to be recorded or reported.

    `drains` has the seconds that their real servers may drain.
    """

    def __init__(self, virtuals: Iterable[VirtualServer], drains: Drains) -> None:
        self._virtuals = set(virtuals)
        self._drains = drains
        # whether each is ours, since the last `take_changes`
        self._changes: dict[VirtualServer, bool] = {}
        # virtual servers that ceased to be desired and have not begun to leave
        self._unwanted: set[VirtualServer] = set()
        # those that have begun to leave since the last `take_departed`
        self._departed: list[VirtualServer] = []

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

    def want(self, virtual: VirtualServer, drain_timeout: float) -> None:
        """Note that the virtual server is desired, and how many seconds its real servers may drain."""
        self._unwanted.discard(virtual)
        if self._drains.timeout(virtual) != drain_timeout:
            self._drains.set_timeout(virtual, drain_timeout)
            if virtual in self._virtuals:
                self._changes[virtual] = True

    def unwant(self, virtual: VirtualServer) -> None:
        """Note that the virtual server has ceased to be desired."""
        self._unwanted.add(virtual)

    def is_leaving(self, virtual: VirtualServer) -> bool:
        """Tell whether the virtual server, which is not desired, has begun to leave."""
        return virtual not in self._unwanted

    def depart(self, virtual: VirtualServer) -> None:
        """Note that the virtual server begins to leave, or is not there."""
        if virtual in self._unwanted:
            self._unwanted.remove(virtual)
            self._departed.append(virtual)

    def depart_foreign(self) -> None:
        """Note that nothing is to be removed of the virtual servers that are not desired, and not ours."""
        for virtual in self._unwanted - self._virtuals:
            self.depart(virtual)

    def take_changes(self) -> dict[VirtualServer, float | None]:
        """Return what has to be recorded of the virtual servers that are ours, since the last call.

        For each the seconds that its real servers may drain; None: it is no longer
        ours. What has become ours has to be recorded before its step is done.
        """
        changes, self._changes = self._changes, {}
        return {virtual: self._drains.timeout(virtual) if ours else None for virtual, ours in changes.items()}

    def take_departed(self) -> list[VirtualServer]:
        """Return which virtual servers have begun to leave since the last call.

        Each that ceases to be desired, and is not desired again before, is returned
        once: when its removal begins, or it turns out not to exist, or not to
        be ours. Until then its real servers are in force.
        """
        departed, self._departed = self._departed, []
        return departed
