"""The route of an address: the longest prefix wins, and of equal ones the lowest name."""

from collections.abc import Sequence

from clusterf.config.model import Name, Route
from clusterf.lib.addresses import IPAddress
from clusterf.resolve.prefixes import PrefixTable

__all__ = ["RouteTable"]


class RouteTable(PrefixTable[Route]):
    """The routes of the configuration, by name and by prefix."""

    def lookup(self, address: IPAddress) -> Route | None:
        """Return the route with the longest prefix that contains `address`, None if none does.

        Of several routes with that very prefix it is the one with the lowest name.
        """
        names = self._longest(address)
        return self._objects[names[0]] if names else None

    def beaten_by(self, name: Name) -> Name | None:
        """Return the route that wins over `name` with an equal prefix, None if there is none."""
        for prefix in self._prefixes(name):
            winner = self._names[prefix][0]
            if winner != name:
                return winner
        return None

    def sharing(self, name: Name) -> set[Name]:
        """Return the names of the routes that share a prefix with the route `name`, itself included."""
        return {n for prefix in self._prefixes(name) for n in self._names[prefix]}

    def _decision(self, names: Sequence[Name]) -> Route | None:
        return self._objects[names[0]] if names else None
