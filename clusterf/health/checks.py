"""The health check in force for each service: its own, else the cluster's default.

A check that is invalid, and whose last valid value nobody knows, is one by TCP with the
defaults, unless there is a default check: a mistake leaves no backend unchecked.
"""

from clusterf.config.model import HealthCheck, Name
from clusterf.lib.mapping import put

__all__ = ["Checks"]

_FALLBACK = HealthCheck()


class Checks:
    """The configured health checks, by service; None stands for the default of services without one of their own."""

    def __init__(self) -> None:
        self._checks: dict[Name | None, HealthCheck] = {}
        # the sources that have an invalid one
        self._invalid: dict[Name | None, set[str]] = {}

    def update(self, service: Name | None, check: HealthCheck | None) -> bool:
        """Set the check of a service, or with None remove it; return whether that changes anything."""
        return put(self._checks, service, check)

    def note(self, service: Name | None, source: str, *, invalid: bool) -> bool:
        """Note whether the check of a service is invalid in a source; return whether that changes anything."""
        sources = self._invalid.setdefault(service, set())
        before = bool(sources)
        (sources.add if invalid else sources.discard)(source)
        if not sources:
            del self._invalid[service]
        return before != bool(sources)

    def has_own(self, service: Name | None) -> bool:
        """Tell whether the service has a check of its own; one of the type `none` is one."""
        return service in self._checks

    def in_force(self, service: Name | None) -> HealthCheck | None:
        """Return the check that applies to the service; None: it is not checked. With None, return the default."""
        check = self._checks.get(service) or self._checks.get(None)
        if check is None and (service in self._invalid or None in self._invalid):
            return _FALLBACK
        return check
