"""Which addresses of our virtual servers this machine must have: what to add, and what to remove.

A virtual server needs its address from before it is created until it is
removed. An address is ours if we have added it, on one interface, as a whole:
/32 or /128. One that was added outside clusterf, on any interface, is neither
added nor ever removed. Only addresses whose need has changed are considered,
or all after the interfaces were read. Nothing here does I/O.
"""

from collections.abc import Iterable, Mapping, Sequence

from clusterf.host.interfaces import HostAddress, PresentAddress
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import IPAddress

__all__ = ["Vips"]


class Vips:
    """The addresses that are needed, ours, and those of others.

    `ours`: those that are recorded. Without `kept` none is needed.
    """

    def __init__(self, ours: Iterable[HostAddress] = (), *, kept: bool = True) -> None:
        self._kept = kept
        # the index of the interface that must have them; None: it does not exist
        self._target: int | None = None
        # by address, the virtual servers of ours that have it
        self._needed: dict[IPAddress, set[VirtualServer]] = {}
        # by address, the interfaces on which it is ours
        self._ours: dict[IPAddress, set[int]] = {}
        # addresses present that are not ours
        self._others: set[IPAddress] = set()
        # addresses to be considered
        self._marked: dict[IPAddress, None] = {}
        for placed in ours:
            self.own(placed)

    @property
    def ours(self) -> set[HostAddress]:
        """The addresses that we have added, or are about to add."""
        return {HostAddress(interface, address) for address, found in self._ours.items() for interface in found}

    def follow(self, changes: Mapping[VirtualServer, bool]) -> None:
        """Add virtual servers that are ours (True), and remove those that are no longer."""
        for virtual, ours in changes.items():
            address = virtual.address
            if address is None or address.is_loopback:
                continue  # every machine has those
            if ours:
                self._needed.setdefault(address, set()).add(virtual)
            elif address in self._needed:
                self._needed[address].discard(virtual)
                if not self._needed[address]:
                    del self._needed[address]
            self._marked[address] = None

    def lost(self, present: Iterable[PresentAddress]) -> list[HostAddress]:
        """Return the addresses of ours that are not among these."""
        there = {
            HostAddress(interface, address) for interface, address, length in present if length == address.max_prefixlen
        }
        return sorted(self.ours - there, key=str)

    def observe(self, target: int | None, present: Sequence[PresentAddress]) -> None:
        """Replace what is known of the interfaces: the index of the one that must have ours, and all addresses."""
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
        """Return the addresses to be added."""
        target = self._target
        if target is None:
            return []
        return [
            HostAddress(target, address)
            for address in self._marked
            if self._is_needed(address) and address not in self._others and target not in self._ours.get(address, ())
        ]

    def superfluous(self) -> list[HostAddress]:
        """Return the addresses to be removed after the missing ones were added; each is returned once per change.

        One on the wrong interface stays until it is on the right one.
        """
        marked, self._marked = self._marked, {}
        return [
            HostAddress(interface, address)
            for address in marked
            for interface in sorted(self._ours.get(address, ()))
            if not self._is_needed(address) or (interface != self._target and self._is_elsewhere(address))
        ]

    def own(self, placed: HostAddress) -> None:
        """Record as ours an address that is about to be added."""
        self._ours.setdefault(placed.address, set()).add(placed.interface)

    def disown(self, placed: HostAddress) -> None:
        """Record that an address of ours is not present."""
        self._ours[placed.address].remove(placed.interface)
        if not self._ours[placed.address]:
            del self._ours[placed.address]

    def leave(self, placed: HostAddress) -> None:
        """Record as not ours an address that was added outside clusterf first."""
        self.disown(placed)
        self._others.add(placed.address)

    def owns(self, placed: HostAddress) -> bool:
        """Tell whether the address on that interface is ours."""
        return placed.interface in self._ours.get(placed.address, ())

    def needs(self, placed: HostAddress) -> bool:
        """Tell whether the address is needed on that interface."""
        return placed.interface == self._target and self._is_needed(placed.address)

    def _is_needed(self, address: IPAddress) -> bool:
        return self._kept and address in self._needed

    def _is_elsewhere(self, address: IPAddress) -> bool:
        return address in self._others or self._target in self._ours[address]
