"""What the health of backends does to them, by the checks that are in force."""

from functools import lru_cache
from typing import NamedTuple

from clusterf.config.model import HealthCheck, Name
from clusterf.lib.mapping import put

__all__ = ["HealthPolicy", "Policies", "policy_of"]


class HealthPolicy(NamedTuple):
    """What the health of a service's backends does.

    `starts_in_rotation`: a new backend counts before its first verdict.
    `removes`: a backend that is down is removed, instead of drained. Health is
    ignored while fewer than `panic_threshold` percent of the backends are up. `proving`:
    the seconds within which a new backend that works is up. `lapse`: the seconds for which
    one that is down stays out of rotation when the check has gone.

    `removes` and `panic_threshold` are always those of the service, also for backends with a check
    of their own. `checks`: backends without one are checked, too.
    """

    starts_in_rotation: bool
    removes: bool
    panic_threshold: float
    proving: float = 0.0
    lapse: float = 0.0
    checks: bool = True


@lru_cache(maxsize=1024)
def policy_of(check: HealthCheck | None) -> HealthPolicy | None:
    """Return the policy of a check, None: health does nothing. It is the same object for equal checks."""
    if check is None:
        return None
    if check.type == "none":
        policy = HealthPolicy(False, check.on_down == "remove", check.panic_threshold, checks=False)
        return policy if policy.removes or policy.panic_threshold else None
    proving = (check.interval + check.timeout) * check.fall
    lapse = check.interval * check.fall
    return HealthPolicy(check.initial == "up", check.on_down == "remove", check.panic_threshold, proving, lapse)


class Policies:
    """The policies of services, and those of backends that have a check of their own in force."""

    def __init__(self) -> None:
        self._services: dict[Name, HealthPolicy] = {}
        self._backends: dict[tuple[Name, Name], HealthPolicy] = {}
        # those that have changed since `settled`, as they were
        self._replaced: dict[Name, HealthPolicy] = {}
        self._replaced_own: dict[tuple[Name, Name], HealthPolicy] = {}

    def put(self, service: Name, policy: HealthPolicy | None) -> bool:
        """Set the policy of a service, None: it has none; return whether that changes it."""
        before = self._services.get(service)
        changed = put(self._services, service, policy)
        if changed and before is not None:
            self._replaced[service] = before
        return changed

    def put_own(self, service: Name, backend: Name, policy: HealthPolicy | None) -> None:
        """Set the policy of a backend's own check, None: that of its service is in force."""
        before = self._backends.get((service, backend))
        if put(self._backends, (service, backend), policy) and before is not None:
            self._replaced_own[service, backend] = before

    def settled(self) -> None:
        """Note that what has changed was settled."""
        self._replaced, self._replaced_own = {}, {}

    def of(self, service: Name, backend: Name) -> HealthPolicy | None:
        """Return the policy of the check in force for a backend; None: it has none."""
        policy = self._backends.get((service, backend)) or self._services.get(service)
        return policy if policy is not None and policy.checks else None

    def lapse(self, service: Name, backend: Name) -> float:
        """Return for how many seconds a check that has gone still keeps a backend out of rotation."""
        before = self._replaced_own.get((service, backend))
        policy = before or self.of(service, backend) or self._replaced.get(service)
        return policy.lapse if policy is not None else 0.0

    def panic_threshold(self, service: Name) -> float:
        """Return the percentage of a service's backends that are up, below which health is ignored."""
        policy = self._services.get(service)
        return policy.panic_threshold if policy is not None else 0.0
