"""All targets of a process: when each one is probed, and the verdicts that follow from the results.

Pure: the owner takes the targets that are due, probes them, and passes on the
results. Times are in seconds on a monotonic clock; `wall` is Unix time in
seconds, and only recorded.
"""

from collections.abc import Callable
from typing import NamedTuple

from clusterf.health.schedule import Schedule, Slot
from clusterf.health.self_outage import Observation, OutageDetector
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult, RiseFall, StoredVerdict, Verdict
from clusterf.lib.jitter import share

__all__ = ["Monitor", "Transition"]

REST = 20.0
"""Seconds of rest after a probe for each second of CPU time that it took: no target has more than 5 % of a CPU."""


class Transition(NamedTuple):
    """A verdict that has changed, or the first one. `result` is the last of a `streak` of equal results."""

    target: Target
    verdict: Verdict
    before: Verdict | None
    result: ProbeResult
    streak: int


class _Watched:
    """A target, and the state that is kept of it."""

    __slots__ = ("health", "observation", "slot", "target")

    def __init__(self, target: Target, stored: StoredVerdict | None) -> None:
        check = target.check
        self.target = target
        self.slot = Slot(target, check.interval, check.fast_interval, check.jitter)
        self.health = RiseFall(check, stored)
        self.observation = Observation(down=self.health.up is False)


class Monitor:
    """Verdicts on the watched targets.

    With `references`, the owner probes the references every
    `REFERENCE_INTERVAL` while `needs_references`, and passes on the result as
    `references_responded`. Until then, targets that would go down are held.
    """

    def __init__(self, *, references: bool, chance: Callable[[], float] = share) -> None:
        self._schedule: Schedule[Target] = Schedule(chance)
        self._outage = OutageDetector() if references else None
        self._watched: dict[Target, _Watched] = {}
        # targets that were forgotten during a probe of them that is still under way
        self._abandoned: set[Target] = set()
        # targets that go down unless the references show an outage of this node, and their last results
        self._held: dict[_Watched, ProbeResult] = {}

    def __len__(self) -> int:
        """Return the number of watched targets."""
        return len(self._watched)

    @property
    def lag(self) -> float:
        """Seconds by which the last probe started behind its schedule; first probes have no schedule."""
        return self._schedule.lag

    @property
    def frozen(self) -> bool:
        """Whether most targets and all references fail, so that a local outage is assumed and no verdict changes."""
        return self._outage is not None and self._outage.frozen

    @property
    def references_trusted(self) -> bool:
        """Whether the references are used. False after most targets have passed while no reference responded.

        Until one responds, targets go down without the references.
        """
        return self._outage is None or self._outage.references_trusted

    @property
    def needs_references(self) -> bool:
        """Whether the references are to be probed."""
        return bool(self._held) or self.frozen or not self.references_trusted

    def watch(
        self, target: Target, now: float, *, inherit_from: Target | None = None, stored: StoredVerdict | None = None
    ) -> None:
        """Start probing the target; nothing changes if it is watched already.

        Its first verdict is that of `inherit_from`, if that is watched and has
        one, else `stored`.
        """
        if target in self._watched:
            return
        inherited = self.stored(inherit_from) if inherit_from is not None else None
        watched = self._watched[target] = _Watched(target, inherited or stored)
        if target not in self._abandoned:
            self._schedule.add(watched.slot, now)
        if self._outage is not None:
            self._outage.add(watched.observation)

    def forget(self, target: Target) -> None:
        """Stop probing the target; nothing happens if it is not watched."""
        watched = self._watched.pop(target, None)
        if watched is None:
            return
        if watched.slot.under_way:
            self._abandoned.add(target)
        self._schedule.remove(watched.slot)
        self._held.pop(watched, None)
        if self._outage is not None:
            self._outage.remove(watched.observation)

    def verdict(self, target: Target) -> Verdict | None:
        """Return the verdict on the target; None: there is none yet, or the target is not watched."""
        watched = self._watched.get(target)
        return watched.health.verdict if watched else None

    def stored(self, target: Target) -> StoredVerdict | None:
        """Return the target's verdict to keep across restarts; None: there is none yet."""
        watched = self._watched.get(target)
        return watched.health.stored if watched else None

    def take(self, now: float) -> list[Target]:
        """Return the targets whose probes are to be started now; each is under way until it is `finished`."""
        return self._schedule.take(now)

    def wake_at(self) -> float | None:
        """Return the time at which targets are due next; None: not before another call changes that."""
        return self._schedule.wake_at()

    def finished(self, target: Target, result: ProbeResult, now: float, wall: float) -> list[Transition]:
        """Process the result of a target's probe; return the transitions.

        A result is dropped if the target was forgotten during the probe, even
        if it is watched again: then it is probed anew. So is one that is `local`.
        """
        watched = self._watched.get(target)
        if target in self._abandoned:
            self._abandoned.discard(target)
            if watched is not None:
                self._schedule.add(watched.slot, now)
            return []
        if watched is None or not watched.slot.under_way:
            return []
        switches = not result.local and self._count(watched, result, now)
        transitions = [self._switch(watched, result, wall)] if switches else []
        self._schedule.finished(watched.slot, now, fast=watched.health.streak > 0, rest=REST * result.cost)
        return transitions

    def references_responded(self, ok: bool, now: float, wall: float) -> list[Transition]:
        """Process whether any reference has responded; return the transitions."""
        held, self._held = self._held, {}
        if self._outage is not None and ok:
            self._outage.reference_responded(now)
            return [self._switch(watched, result, wall) for watched, result in held.items()]
        if self._outage is not None and held:
            self._outage.freeze()
            for watched in self._watched.values():
                watched.health.reset_streak()
        return []

    def _count(self, watched: _Watched, result: ProbeResult, now: float) -> bool:
        """Count the result; return whether the verdict switches to it."""
        if self._outage is None:
            return watched.health.count(result.ok)
        if not result.ok and watched.slot.started <= self._outage.thawed_at:
            return False
        frozen = self._outage.frozen
        self._outage.observe(watched.observation, result.ok, now)
        return not frozen and self._count_unless_held(watched, result, now, self._outage)

    def _count_unless_held(self, watched: _Watched, result: ProbeResult, now: float, outage: OutageDetector) -> bool:
        switches = watched.health.count(result.ok)
        if result.ok:
            self._held.pop(watched, None)
            return switches
        if watched.health.streak == 1:
            watched.observation.failing_since = now
        if switches and (self._held or outage.suspects_outage(watched.observation, now)):
            self._held[watched] = result
            return False
        return switches

    def _switch(self, watched: _Watched, result: ProbeResult, wall: float) -> Transition:
        health = watched.health
        before, streak = health.verdict, health.streak
        verdict = health.switch(result, wall)
        if self._outage is not None:
            self._outage.switched(watched.observation, down=not verdict.up)
        return Transition(watched.target, verdict, before, result, streak)
