"""The route of an address: the longest prefix wins; look-ups never scan the routes.

Routes are kept by prefix length, so that a look-up is one dictionary probe for
each length in use, at most 33 for IPv4 and 129 for IPv6, however many routes
there are.
"""

from bisect import insort
from typing import NamedTuple

from clusterf.config.model import Name, Route
from clusterf.lib.addresses import Family, IPAddress

__all__ = ["AddressRange", "RouteTable"]

_BITS = {Family.IPV4: 32, Family.IPV6: 128}


class AddressRange(NamedTuple):
    """The addresses from `first` to `last`, both included, as numbers."""

    family: Family
    first: int
    last: int


class _Prefix(NamedTuple):
    family: Family
    length: int
    network: int  # the network's leading `length` bits as a number

    def range(self) -> AddressRange:
        host_bits = _BITS[self.family] - self.length
        first = self.network << host_bits
        return AddressRange(self.family, first, first | ((1 << host_bits) - 1))


class RouteTable:
    """The routes of the configuration, by name and by prefix."""

    def __init__(self) -> None:
        self._routes: dict[Name, Route] = {}
        # the names that share a prefix, lowest first
        self._names: dict[_Prefix, list[Name]] = {}
        # the number of prefixes of each length, longest first
        self._lengths: dict[Family, dict[int, int]] = {Family.IPV4: {}, Family.IPV6: {}}

    def put(self, name: Name, route: Route | None) -> list[AddressRange]:
        """Set the route `name`, or remove it with None; return the addresses whose route may have changed."""
        stale, fresh = _prefixes(self._routes.get(name)), _prefixes(route)
        before = {prefix: self._winner(prefix) for prefix in stale + fresh}
        for prefix in stale:
            self._remove(prefix, name)
        if route is not None:
            self._routes[name] = route
        else:
            self._routes.pop(name, None)
        for prefix in fresh:
            self._add(prefix, name)
        return [prefix.range() for prefix, winner in before.items() if self._winner(prefix) != winner]

    def lookup(self, address: IPAddress) -> Route | None:
        """Return the route with the longest prefix that contains `address`, None if none does.

        Of several routes with that very prefix it is the one with the lowest name.
        """
        family, number = Family.of(address), int(address)
        bits = _BITS[family]
        for length in self._lengths[family]:
            route = self._winner(_Prefix(family, length, number >> (bits - length)))
            if route is not None:
                return route
        return None

    def beaten_by(self, name: Name) -> Name | None:
        """Return the route that wins over `name` with an equal prefix, None if there is none."""
        for prefix in _prefixes(self._routes.get(name)):
            winner = self._names[prefix][0]
            if winner != name:
                return winner
        return None

    def sharing(self, name: Name) -> set[Name]:
        """Return the names of the routes that share a prefix with the route `name`, itself included."""
        return {n for prefix in _prefixes(self._routes.get(name)) for n in self._names[prefix]}

    def _winner(self, prefix: _Prefix) -> Route | None:
        names = self._names.get(prefix)
        return self._routes[names[0]] if names else None

    def _add(self, prefix: _Prefix, name: Name) -> None:
        names = self._names.setdefault(prefix, [])
        insort(names, name)
        if len(names) == 1:
            self._count(prefix, 1)

    def _remove(self, prefix: _Prefix, name: Name) -> None:
        names = self._names[prefix]
        names.remove(name)
        if not names:
            del self._names[prefix]
            self._count(prefix, -1)

    def _count(self, prefix: _Prefix, change: int) -> None:
        lengths = dict(self._lengths[prefix.family])
        lengths[prefix.length] = lengths.get(prefix.length, 0) + change
        self._lengths[prefix.family] = {n: lengths[n] for n in sorted(lengths, reverse=True) if lengths[n]}


def _prefixes(route: Route | None) -> list[_Prefix]:
    if route is None:
        return []
    network = route.prefix
    if network is None:
        return [_Prefix(family, 0, 0) for family in Family]
    family = Family(2 if network.version == 4 else 10)
    return [_Prefix(family, network.prefixlen, int(network.network_address) >> (_BITS[family] - network.prefixlen))]
