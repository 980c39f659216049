"""Which services claim each virtual server, and which of these may own it."""

from collections.abc import Mapping

from clusterf.config.model import Name
from clusterf.ipvs.table import VirtualServer, VirtualServerSpec
from clusterf.resolve.resolver import ServiceResolved

__all__ = ["Claims"]


class Claims:
    """The claims of all services, as they were resolved last."""

    def __init__(self) -> None:
        self._resolved: dict[Name, ServiceResolved] = {}
        # of each virtual server that services may own, these services
        self._rivals: dict[VirtualServer, dict[Name, VirtualServerSpec]] = {}

    def put(self, resolved: ServiceResolved) -> list[VirtualServer]:
        """Set the claims of a service; return the virtual servers for which that changes anything."""
        service = resolved.service
        before = _allowed(self._resolved.pop(service, None))
        if resolved.claims:
            self._resolved[service] = resolved
        after = _allowed(resolved)
        lost = [virtual for virtual in before if virtual not in after]
        for virtual in lost:
            rivals = self._rivals[virtual]
            del rivals[service]
            if not rivals:
                del self._rivals[virtual]
        changed = [virtual for virtual, spec in after.items() if before.get(virtual) != spec]
        for virtual in changed:
            self._rivals.setdefault(virtual, {})[service] = after[virtual]
        return lost + changed

    def claimed_by(self, service: Name) -> list[VirtualServer]:
        """Return the virtual servers that a service claims, those included that it may not own."""
        resolved = self._resolved.get(service)
        return [virtual for virtual, _ in resolved.claims] if resolved is not None else []

    def rivals(self, virtual: VirtualServer) -> Mapping[Name, VirtualServerSpec]:
        """Return what the services want the virtual server to be that claim it and may own it."""
        return self._rivals.get(virtual, {})


def _allowed(resolved: ServiceResolved | None) -> dict[VirtualServer, VirtualServerSpec]:
    if resolved is None:
        return {}
    return {virtual: spec for virtual, spec in resolved.claims if virtual not in resolved.forbidden}
