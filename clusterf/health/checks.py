"""The health check in force for each service: its own, else the cluster's default."""

from clusterf.config.model import HealthCheck, Name
from clusterf.lib.mapping import put

__all__ = ["Checks"]


class Checks:
    """The configured health checks, by service; None stands for the default of services without one of their own."""

    def __init__(self) -> None:
        self._checks: dict[Name | None, HealthCheck] = {}

    def update(self, service: Name | None, check: HealthCheck | None) -> bool:
        """Set the check of a service, or with None remove it; return whether that changes anything."""
        return put(self._checks, service, check)

    def has_own(self, service: Name | None) -> bool:
        """Tell whether the service has a check of its own; one of the type `none` is one."""
        return service in self._checks

    def in_force(self, service: Name | None) -> HealthCheck | None:
        """Return the check that applies to the service; None: it is not checked. With None, return the default."""
        return self._checks.get(service) or self._checks.get(None)
