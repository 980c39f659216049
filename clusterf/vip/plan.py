"""Which addresses of our virtual servers are to be on this machine: what to add, and what to remove.

A virtual server needs its address from before it is made until it is gone. An
address is ours if we have added it, on one interface, as a whole: /32 or /128.
One that others have put on any interface is there already: it is not added,
and never removed. Only addresses whose need has changed are looked at, save
after all that is there was read. Nothing here does I/O.
"""

from collections.abc import Iterable, Mapping, Sequence

from clusterf.host.interfaces import HostAddress, PresentAddress
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import IPAddress

__all__ = ["Vips"]


class Vips:
    """The addresses that are needed, ours, and those of others.

    `ours`: those that are on record. Without `kept` none is needed.
    """

    def __init__(self, ours: Iterable[HostAddress] = (), *, kept: bool = True) -> None:
        self._kept = kept
        # the index of the interface that is to have them; None: it does not exist
        self._target: int | None = None
        # by address, the virtual servers of ours that have it
        self._needed: dict[IPAddress, set[VirtualServer]] = {}
        # by address, the interfaces on which it is ours
        self._ours: dict[IPAddress, set[int]] = {}
        # what is there and not ours
        self._others: set[IPAddress] = set()
        # for which there may be something to do
        self._marked: dict[IPAddress, None] = {}
        for placed in ours:
            self.own(placed)

    @property
    def ours(self) -> set[HostAddress]:
        """What we have added, and what we are about to add."""
        return {HostAddress(interface, address) for address, found in self._ours.items() for interface in found}

    def follow(self, changes: Mapping[VirtualServer, bool]) -> None:
        """Take it that virtual servers are ours (True) from now on, or are not."""
        for virtual, ours in changes.items():
            address = virtual.address
            if address is None or address.is_loopback:
                continue  # (a machine has those by itself)
            if ours:
                self._needed.setdefault(address, set()).add(virtual)
            elif address in self._needed:
                self._needed[address].discard(virtual)
                if not self._needed[address]:
                    del self._needed[address]
            self._marked[address] = None

    def lost(self, present: Iterable[PresentAddress]) -> list[HostAddress]:
        """Return what is ours and not among these."""
        there = {
            HostAddress(interface, address) for interface, address, length in present if length == address.max_prefixlen
        }
        return sorted(self.ours - there, key=str)

    def observe(self, target: int | None, present: Sequence[PresentAddress]) -> None:
        """Take it that these addresses are there, and that `target` is the index of the interface to have ours."""
        self._target = target
        for placed in self.lost(present):
            self.disown(placed)
        self._others = {
            address
            for interface, address, length in present
            if length != address.max_prefixlen or interface not in self._ours.get(address, ())
        }
        self._marked.update(dict.fromkeys((*self._needed, *self._ours)))

    def missing(self) -> list[HostAddress]:
        """Return what is to be added."""
        target = self._target
        if target is None:
            return []
        return [
            HostAddress(target, address)
            for address in self._marked
            if self._is_needed(address) and address not in self._others and target not in self._ours.get(address, ())
        ]

    def superfluous(self) -> list[HostAddress]:
        """Return what is to be removed, once what is missing was added, and look at no address again until it changes.

        What is on another interface than it should be stays until it is where it should be.
        """
        marked, self._marked = self._marked, {}
        return [
            HostAddress(interface, address)
            for address in marked
            for interface in sorted(self._ours.get(address, ()))
            if not self._is_needed(address) or (interface != self._target and self._is_elsewhere(address))
        ]

    def own(self, placed: HostAddress) -> None:
        """Take an address for ours that is about to be added."""
        self._ours.setdefault(placed.address, set()).add(placed.interface)

    def disown(self, placed: HostAddress) -> None:
        """Take it that an address of ours is not there."""
        self._ours[placed.address].remove(placed.interface)
        if not self._ours[placed.address]:
            del self._ours[placed.address]

    def leave(self, placed: HostAddress) -> None:
        """Take an address for one of others, who were first to add it."""
        self.disown(placed)
        self._others.add(placed.address)

    def owns(self, placed: HostAddress) -> bool:
        """Tell whether the address is ours there."""
        return placed.interface in self._ours.get(placed.address, ())

    def needs(self, placed: HostAddress) -> bool:
        """Tell whether the address is wanted there."""
        return placed.interface == self._target and self._is_needed(placed.address)

    def _is_needed(self, address: IPAddress) -> bool:
        return self._kept and address in self._needed

    def _is_elsewhere(self, address: IPAddress) -> bool:
        return address in self._others or self._target in self._ours[address]
