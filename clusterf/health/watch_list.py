"""Which targets a monitor watches: those of the configuration, with the verdicts that they inherit or had stored."""

from collections.abc import Collection, Iterable

from clusterf.config.model import BackendKey, Key, Value
from clusterf.health.monitor import Monitor, Transition
from clusterf.health.targets import Target, Targets
from clusterf.health.verdict import StoredVerdict, VerdictKey

__all__ = ["VerdictUpdates", "WatchList"]

VerdictUpdates = dict[VerdictKey, StoredVerdict | None]
"""Changed verdicts by backend and endpoint; None: there is no verdict, or it is no longer probed."""


class WatchList:
    """Keeps the watched targets of `monitor` equal to `targets`, as the configuration changes."""

    def __init__(self, targets: Targets, monitor: Monitor) -> None:
        self._targets = targets
        self.monitor = monitor
        # the verdicts of earlier processes, until the whole configuration is known
        self._stored: dict[VerdictKey, StoredVerdict] = {}

    def restore(self, stored: dict[VerdictKey, StoredVerdict]) -> None:
        """Have targets that are new to the list begin with these verdicts, until `forget_stored`."""
        self._stored = stored

    def forget_stored(self) -> None:
        """Have all new targets begin without a verdict from now on."""
        self._stored = {}

    @property
    def pending(self) -> bool:
        """Whether there may be changes of the configuration that `apply` has not applied."""
        return self._targets.pending

    def update(self, key: Key, value: Value | None) -> None:
        """Set the value of a key of the configuration, or with None remove it; `apply` makes it effective."""
        self._targets.update(key, value)

    def note(self, key: Key, source: str, *, invalid: bool) -> None:
        """Note whether the value of a key is invalid in a source; `apply` makes it effective."""
        self._targets.note(key, source, invalid=invalid)

    def apply(self, limit: int, now: float) -> VerdictUpdates:
        """Watch and forget targets for at most `limit` changed backends; return the verdicts that this changes.

        `now` is in seconds on the monitor's clock.
        """
        updates: VerdictUpdates = {}
        left: dict[Target, None] = {}
        for key, before, after, inherits in self._targets.flush(limit):
            if before is not None:
                left[before] = None
                updates[_verdict_key(key, before)] = None
            if after is not None:
                new = _verdict_key(key, after)
                self.monitor.watch(after, now, inherit_from=before if inherits else None, stored=self._stored.get(new))
                updates[new] = self.monitor.stored(after)
        # after the loop: targets that inherit from them are watched by now, and another backend may need them
        for target in left:
            if not self._targets.backends(target):
                self.monitor.forget(target)
        return updates

    def updates(self, transitions: Iterable[Transition]) -> VerdictUpdates:
        """Return the verdicts on all backends of the targets of the transitions."""
        return {
            _verdict_key(key, transition.target): self.monitor.stored(transition.target)
            for transition in transitions
            for key in self.backends(transition.target)
        }

    def backends(self, target: Target) -> Collection[BackendKey]:
        """Return the backends for which `target` is probed."""
        return self._targets.backends(target)


def _verdict_key(key: BackendKey, target: Target) -> VerdictKey:
    return VerdictKey(key.service, key.backend, target.endpoint)
