"""The backends that meet at each real server of a service's virtual servers."""

from collections.abc import Iterator

from clusterf.config.model import Name
from clusterf.ipvs.table import RealServer, VirtualServer

__all__ = ["BackendGroups"]

# nearly always a group is one backend, for which a set would take much more memory
_Groups = dict[RealServer, Name | set[Name]]


class BackendGroups:
    """The groups of backends, by virtual server, service and real server."""

    def __init__(self) -> None:
        self._groups: dict[tuple[VirtualServer, Name], _Groups] = {}

    def has_any(self, virtual: VirtualServer, service: Name) -> bool:
        """Tell whether the service has backends in the virtual server."""
        return (virtual, service) in self._groups

    def reals(self, virtual: VirtualServer, service: Name) -> Iterator[RealServer]:
        """Yield the real servers that the service's backends are in the virtual server."""
        yield from self._groups.get((virtual, service), ())

    def at(self, virtual: VirtualServer, service: Name, real: RealServer) -> list[Name]:
        """Return the backends that meet at the real server, the lowest name first."""
        group = self._groups.get((virtual, service), {}).get(real)
        if group is None:
            return []
        return sorted(group) if isinstance(group, set) else [group]

    def add(self, virtual: VirtualServer, service: Name, real: RealServer, backend: Name) -> bool:
        """Add a backend; return whether it is the service's first one in the virtual server."""
        first = (virtual, service) not in self._groups
        groups = self._groups.setdefault((virtual, service), {})
        group = groups.get(real)
        if group is None:
            groups[real] = backend
        elif isinstance(group, set):
            group.add(backend)
        else:
            groups[real] = {group, backend}
        return first

    def remove(self, virtual: VirtualServer, service: Name, real: RealServer, backend: Name) -> bool:
        """Remove a backend; return whether it was the service's last one in the virtual server."""
        groups = self._groups[virtual, service]
        group = groups[real]
        if isinstance(group, set) and group != {backend}:
            group.discard(backend)
        else:
            del groups[real]
        if groups:
            return False
        del self._groups[virtual, service]
        return True
