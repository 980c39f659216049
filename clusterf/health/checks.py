"""The health check in force for each backend.

It is the first of these that there is:

1. the backend's own, by an operator
2. its service's
3. the backend's own, by a label of its container
4. the cluster's default
5. one by TCP with the defaults, if any of the above is invalid and its last valid value is not known:
   a mistake leaves no backend unchecked
"""

from collections.abc import Iterable

from clusterf.config.model import BackendCheck, HealthCheck, Name
from clusterf.lib.mapping import put

__all__ = ["Checks"]

_FALLBACK = HealthCheck()


class Checks:
    """The configured health checks, by service; None stands for the default of services without one of their own."""

    def __init__(self) -> None:
        self._checks: dict[Name | None, HealthCheck] = {}
        # those of them that are from files of this machine
        self._local: set[Name | None] = set()
        # the sources that have an invalid one, by URL
        self._invalid: dict[Name | None, set[str]] = {}

    def update(self, service: Name | None, check: HealthCheck | None, *, local: bool = False) -> bool:
        """Set the check of a service, or with None remove it; return whether that changes anything.

        `local`: it is from files of this machine.
        """
        was_local = service in self._local
        (self._local.add if local else self._local.discard)(service)
        return put(self._checks, service, check) or was_local != local

    def note(self, service: Name | None, source: str, *, invalid: bool) -> bool:
        """Note whether the check of a service is invalid in a source; return whether that changes anything."""
        sources = self._invalid.setdefault(service, set())
        before = bool(sources), _are_files(sources)
        (sources.add if invalid else sources.discard)(source)
        if not sources:
            del self._invalid[service]
        return before != (bool(sources), _are_files(sources))

    def is_local(self, service: Name | None, own: BackendCheck | None = None) -> bool:
        """Tell whether the check that is in force is from files, or stands for invalid ones in files.

        A check of a backend's `own` is from where the backend is.
        """
        if own is not None and self.is_own_in_force(service, own):
            return True
        for key in (service, None):
            if key in self._checks:
                return key in self._local
        return all(_are_files(self._invalid.get(key, ())) for key in (service, None))

    def has_own(self, service: Name | None) -> bool:
        """Tell whether the service has a check of its own; one of the type `none` is one."""
        return service in self._checks

    def in_force(self, service: Name | None, own: BackendCheck | None = None) -> HealthCheck | None:
        """Return the check of a service's backend that has this check of its `own`; None: it is not checked.

        Without `own` it is that of the service, and without a service the default.
        """
        if own is not None and self.is_own_in_force(service, own):
            return own.check
        check = self._checks.get(service) or self._checks.get(None)
        if check is None and (service in self._invalid or None in self._invalid):
            return _FALLBACK
        return check

    def is_own_in_force(self, service: Name | None, own: BackendCheck) -> bool:
        """Tell whether a backend's own check comes before that of its service and the default."""
        match own.origin:
            case "operator":
                return True
            case "label":
                return service not in self._checks
            case "invalid":
                return self._checks.keys().isdisjoint((service, None))


def _are_files(sources: Iterable[str]) -> bool:
    return all(source.startswith("file:") for source in sources)
