"""Objects of the configuration by address prefix: the longest prefix wins; look-ups never scan the objects.

Objects are kept by prefix length, so that a look-up is one dictionary probe for
each length in use, at most 33 for IPv4 and 129 for IPv6, however many objects
there are.
"""

from abc import ABC, abstractmethod
from bisect import insort
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from clusterf.config.model import Name, Route, VipRule
from clusterf.lib.addresses import Family, IPAddress

__all__ = ["AddressRange", "PrefixTable"]

_BITS = {Family.IPV4: 32, Family.IPV6: 128}

T = TypeVar("T", Route, VipRule)


class AddressRange(NamedTuple):
    """The addresses from `first` to `last`, both included, as numbers."""

    family: Family
    first: int
    last: int


class Prefix(NamedTuple):
    """A prefix; `network` are its leading `length` bits as a number."""

    family: Family
    length: int
    network: int

    def range(self) -> AddressRange:
        """Return the addresses under it."""
        host_bits = _BITS[self.family] - self.length
        first = self.network << host_bits
        return AddressRange(self.family, first, first | ((1 << host_bits) - 1))


class PrefixTable(ABC, Generic[T]):
    """Objects of the configuration that each have a prefix, by name and by prefix; without one they are for all."""

    def __init__(self) -> None:
        self._objects: dict[Name, T] = {}
        # the names that share a prefix, lowest first
        self._names: dict[Prefix, list[Name]] = {}
        # the number of prefixes of each length, longest first
        self._lengths: dict[Family, dict[int, int]] = {Family.IPV4: {}, Family.IPV6: {}}

    @abstractmethod
    def _decision(self, names: Sequence[Name]) -> object:
        """Return what these objects, which share a prefix, mean for the addresses under it."""

    def put(self, name: Name, item: T | None) -> list[AddressRange]:
        """Set the object `name`, or remove it with None; return the addresses for which that may change anything."""
        stale, fresh = self._prefixes(name), _prefixes(item)
        before = {prefix: self._decision(self._names.get(prefix, ())) for prefix in stale + fresh}
        for prefix in stale:
            self._remove(prefix, name)
        if item is not None:
            self._objects[name] = item
        else:
            self._objects.pop(name, None)
        for prefix in fresh:
            self._add(prefix, name)
        return [p.range() for p, old in before.items() if self._decision(self._names.get(p, ())) != old]

    def _longest(self, address: IPAddress) -> Sequence[Name]:
        """Return the names of the objects with the longest prefix that contains `address`, lowest first."""
        family, number = Family.of(address), int(address)
        bits = _BITS[family]
        for length in self._lengths[family]:
            names = self._names.get(Prefix(family, length, number >> (bits - length)))
            if names:
                return names
        return ()

    def _prefixes(self, name: Name) -> list[Prefix]:
        return _prefixes(self._objects.get(name))

    def _add(self, prefix: Prefix, name: Name) -> None:
        names = self._names.setdefault(prefix, [])
        insort(names, name)
        if len(names) == 1:
            self._count(prefix, 1)

    def _remove(self, prefix: Prefix, name: Name) -> None:
        names = self._names[prefix]
        names.remove(name)
        if not names:
            del self._names[prefix]
            self._count(prefix, -1)

    def _count(self, prefix: Prefix, change: int) -> None:
        lengths = dict(self._lengths[prefix.family])
        lengths[prefix.length] = lengths.get(prefix.length, 0) + change
        self._lengths[prefix.family] = {n: lengths[n] for n in sorted(lengths, reverse=True) if lengths[n]}


def _prefixes(item: Route | VipRule | None) -> list[Prefix]:
    if item is None:
        return []
    network = item.prefix
    if network is None:
        return [Prefix(family, 0, 0) for family in Family]
    family = Family(2 if network.version == 4 else 10)
    return [Prefix(family, network.prefixlen, int(network.network_address) >> (_BITS[family] - network.prefixlen))]
