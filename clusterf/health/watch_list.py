"""Which targets a monitor watches: those of the configuration, with the verdicts that they inherit or had stored.

A target that is refused is not watched: a backend there keeps the verdict that it had, and without
one it is said that there will be none.
"""

from collections.abc import Collection, Iterable

from clusterf.config.model import BackendKey, Key, Value
from clusterf.health.monitor import Monitor, Transition
from clusterf.health.targets import Target, TargetChange, Targets
from clusterf.health.verdict import StoredVerdict, Verdict, VerdictKey

__all__ = ["VerdictUpdates", "WatchList"]

VerdictUpdates = dict[VerdictKey, StoredVerdict | None]
"""Changed verdicts by backend and endpoint; None: there is no verdict yet, or it is no longer probed."""


class WatchList:
    """Keeps the watched targets of `monitor` equal to `targets`, as the configuration changes."""

    def __init__(self, targets: Targets, monitor: Monitor) -> None:
        self._targets = targets
        self.monitor = monitor
        # the verdicts of earlier processes, until the whole configuration is known
        self._stored: dict[VerdictKey, StoredVerdict] = {}
        # the verdicts of backends whose targets are refused, as far as they had one
        self._kept: dict[VerdictKey, StoredVerdict] = {}
        # the refused targets; and those among them that are new since `take_refused`
        self._refused: set[Target] = set()
        self._newly_refused: dict[Target, None] = {}

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

    def update(self, key: Key, value: Value | None, *, local: bool = False) -> None:
        """Set the value of a key of the configuration, or with None remove it; `apply` makes it effective.

        `local`: it is from files of this machine.
        """
        self._targets.update(key, value, local=local)

    def note(self, key: Key, source: str, *, invalid: bool) -> None:
        """Note whether the value of a key is invalid in a source; `apply` makes it effective."""
        self._targets.note(key, source, invalid=invalid)

    def apply(self, limit: int, now: float, wall: float) -> VerdictUpdates:
        """Watch and forget targets for at most `limit` changed backends; return the verdicts that this changes.

        `now` is in seconds on the monitor's clock, `wall` is Unix time.
        """
        updates: VerdictUpdates = {}
        left: dict[Target, None] = {}
        for change in self._targets.flush(limit):
            key, before, after, inherits = change
            first = self._first_verdict(change)
            if before is not None:
                left[before] = None
                updates[_verdict_key(key, before)] = None
                self._kept.pop(_verdict_key(key, before), None)
            if after is not None and after.refused:
                updates[_verdict_key(key, after)] = self._refuse(key, after, first, wall)
            elif after is not None:
                self.monitor.watch(after, now, inherit_from=before if inherits else None, stored=first)
                updates[_verdict_key(key, after)] = self.monitor.stored(after)
        # after the loop: targets that inherit from them are watched by now, and another backend may need them
        for target in left:
            if not self._targets.backends(target):
                self.monitor.forget(target)
                self._refused.discard(target)
                self._newly_refused.pop(target, None)
        return updates

    def take_refused(self) -> Collection[Target]:
        """Return the targets that were refused since the last call, and are new."""
        refused, self._newly_refused = self._newly_refused, {}
        return refused

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

    def _first_verdict(self, change: TargetChange) -> StoredVerdict | None:
        """Return the verdict that a backend begins with at another target, None: it has none."""
        key, before, after, inherits = change
        if after is None:
            return None
        inherited = None
        if inherits and before is not None:
            inherited = self._kept.get(_verdict_key(key, before)) if before.refused else self.monitor.stored(before)
        return inherited or self._stored.get(_verdict_key(key, after))

    def _refuse(self, key: BackendKey, target: Target, first: StoredVerdict | None, wall: float) -> StoredVerdict:
        """Keep the backend's verdict, and return it; without one return that it has none."""
        if target not in self._refused:
            self._refused.add(target)
            self._newly_refused[target] = None
        if first is None:
            return StoredVerdict(Verdict(None, wall, target.refused), proven=False)
        self._kept[_verdict_key(key, target)] = first
        return first


def _verdict_key(key: BackendKey, target: Target) -> VerdictKey:
    return VerdictKey(key.service, key.backend, target.endpoint)
