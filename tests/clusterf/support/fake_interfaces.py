"""A network namespace's interfaces in memory, that refuse what the kernel would, and what they are told to."""

import errno

from clusterf.host.interfaces import HostAddress, Interface, PresentAddress

__all__ = ["ETH", "LO", "FakeInterfaces", "whole"]

LO = Interface(1, "lo", up=True, running=True, router=False, hardware=b"")
ETH = Interface(2, "eth0", up=True, running=True, router=False, hardware=bytes.fromhex("02004c4f4f50"))


def whole(placed):
    """Return what is there when that address is."""
    return PresentAddress(*placed, placed.address.max_prefixlen)


class FakeInterfaces:
    """The fields say what is there and what goes wrong."""

    def __init__(self, *links):
        self.links = {link.name: link for link in links or (LO, ETH)}
        self.present = set()
        # what was asked for, in order: ("add" or "remove", Placed)
        self.asked = []
        self.reads = 0
        # errno of an attempt, by address
        self.refused = {}

    def read(self, name):
        self.reads += 1
        return self.links.get(name), sorted(self.present, key=str)

    def add(self, addresses):
        return [self._add(placed) for placed in addresses]

    def remove(self, addresses):
        return [self._remove(placed) for placed in addresses]

    def name_of(self, index):
        return next((link.name for link in self.links.values() if link.index == index), f"if{index}")

    def on(self, link):
        """Return the whole addresses on an interface."""
        return {
            address
            for index, address, length in self.present
            if index == link.index and length == address.max_prefixlen
        }

    def put(self, link, *addresses):
        """Add addresses as somebody else."""
        self.present.update(whole(HostAddress(link.index, address)) for address in addresses)

    def take(self, link, *addresses):
        """Remove addresses as somebody else."""
        self.present.difference_update(whole(HostAddress(link.index, address)) for address in addresses)

    def _add(self, placed):
        self.asked.append(("add", placed))
        if placed.interface not in {link.index for link in self.links.values()}:
            return errno.ENODEV
        if whole(placed) in self.present:
            return errno.EEXIST
        error = self.refused.get(placed.address, 0)
        if not error:
            self.present.add(whole(placed))
        return error

    def _remove(self, placed):
        self.asked.append(("remove", placed))
        error = self.refused.get(placed.address, 0)
        if not error:
            self.present.discard(whole(placed))
        return error
