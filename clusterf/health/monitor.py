"""All targets of a process: when each is probed, and what follows from the outcome.

Pure: whoever drives this takes the targets that are to be probed now, probes
them, and says how each probe ended. Times are in seconds on a clock that does
not go back; `wall` is Unix time, and only noted down.
"""

from collections.abc import Callable
from typing import NamedTuple

from clusterf.health.schedule import Schedule, Slot
from clusterf.health.self_outage import Observation, OutageDetector
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult, RiseFall, StoredVerdict, Verdict
from clusterf.lib.jitter import share

__all__ = ["Monitor", "Transition"]


class Transition(NamedTuple):
    """A verdict that has changed, or is the first: by the outcome, the last of `count` that were alike in a row."""

    target: Target
    verdict: Verdict
    before: Verdict | None
    outcome: ProbeResult
    count: int  # type: ignore[assignment]  # no one counts in a transition


class _Watched:
    """A target, and all that is known of it."""

    __slots__ = ("health", "slot", "target", "witness")

    def __init__(self, target: Target, memory: StoredVerdict | None) -> None:
        check = target.check
        self.target = target
        self.slot = Slot(target, check.interval, check.fast_interval, check.jitter)
        self.health = RiseFall(check, memory)
        self.witness = Observation(down=self.health.up is False)


class Monitor:
    """Verdicts on the targets that are watched.

    With `references`, `questioned` is to be heeded: the references are to be
    probed then, every `REFERENCE_INTERVAL`, and what came of it is to be
    `answered`. Meanwhile targets that would go down are held.
    """

    def __init__(self, *, references: bool, chance: Callable[[], float] = share) -> None:
        self._schedule: Schedule[Target] = Schedule(chance)
        self._doubt = OutageDetector() if references else None
        self._watched: dict[Target, _Watched] = {}
        # targets that were forgotten while a probe of them was under way which has not finished yet
        self._abandoned: set[Target] = set()
        # targets that would go down but for the doubt, and their last outcomes
        self._held: dict[_Watched, ProbeResult] = {}

    @property
    def lag(self) -> float:
        """The seconds that the latest started probe was behind its schedule; first probes have none."""
        return self._schedule.lag

    @property
    def frozen(self) -> bool:
        """Whether most targets and all references fail: the fault is taken to be ours, and no verdict changes."""
        return self._doubt is not None and self._doubt.frozen

    @property
    def believed(self) -> bool:
        """Whether the references are any good: false when most targets have succeeded while none of them answered.

        Until one answers, targets go down without a question.
        """
        return self._doubt is None or self._doubt.believed

    @property
    def questioned(self) -> bool:
        """Whether the references are to be probed."""
        return bool(self._held) or self.frozen or not self.believed

    def watch(
        self, target: Target, now: float, *, heir_of: Target | None = None, memory: StoredVerdict | None = None
    ) -> None:
        """Probe the target from now on; one that is watched already goes on as it is.

        It begins with the verdict of `heir_of`, if that is watched and has
        one, else with `memory`.
        """
        if target in self._watched:
            return
        inherited = self.memory(heir_of) if heir_of is not None else None
        watched = self._watched[target] = _Watched(target, inherited or memory)
        if target not in self._abandoned:
            self._schedule.add(watched.slot, now)
        if self._doubt is not None:
            self._doubt.admit(watched.witness)

    def forget(self, target: Target) -> None:
        """Probe the target no more; nothing happens if it is not watched."""
        watched = self._watched.pop(target, None)
        if watched is None:
            return
        if watched.slot.under_way:
            self._abandoned.add(target)
        self._schedule.remove(watched.slot)
        self._held.pop(watched, None)
        if self._doubt is not None:
            self._doubt.dismiss(watched.witness)

    def verdict(self, target: Target) -> Verdict | None:
        """Return the verdict on a target; None: there is none yet, or it is not watched."""
        watched = self._watched.get(target)
        return watched.health.verdict if watched else None

    def memory(self, target: Target) -> StoredVerdict | None:
        """Return what to keep of a target across restarts; None while there is no verdict."""
        watched = self._watched.get(target)
        return watched.health.memory if watched else None

    def take(self, now: float) -> list[Target]:
        """Return the targets whose probes are to be started now; each is under way until it is `finished`."""
        return self._schedule.take(now)

    def wake_at(self) -> float | None:
        """Return when there will be something to take; None: not before something else happens."""
        return self._schedule.wake_at()

    def finished(self, target: Target, outcome: ProbeResult, now: float, wall: float) -> list[Transition]:
        """Take in how the probe of a target ended; return what follows.

        Of a probe from before the target was forgotten nothing follows, also
        when it is watched again: then it is probed anew. Nor does anything
        follow from one that could not be made for a fault of this machine.
        """
        watched = self._watched.get(target)
        if target in self._abandoned:
            self._abandoned.discard(target)
            if watched is not None:
                self._schedule.add(watched.slot, now)
            return []
        if watched is None or not watched.slot.under_way:
            return []
        turns = not outcome.local and self._turns(watched, outcome, now)
        transitions = [self._turn(watched, outcome, wall)] if turns else []
        self._schedule.finished(watched.slot, now, fast=watched.health.count > 0)
        return transitions

    def answered(self, ok: bool, now: float, wall: float) -> list[Transition]:
        """Take in whether one of the references has answered; return what follows."""
        held, self._held = self._held, {}
        if self._doubt is not None and ok:
            self._doubt.trust(now)
            return [self._turn(watched, outcome, wall) for watched, outcome in held.items()]
        if self._doubt is not None and held:
            self._doubt.freeze()
            for watched in self._watched.values():
                watched.health.forget_count()
        return []

    def _turns(self, watched: _Watched, outcome: ProbeResult, now: float) -> bool:
        """Count the outcome; return whether the verdict is to be turned to it."""
        if self._doubt is None:
            return watched.health.heard(outcome.ok)
        if not outcome.ok and watched.slot.started <= self._doubt.thawed_at:
            return False
        return self._turns_beyond_doubt(watched, outcome, now, self._doubt)

    def _turns_beyond_doubt(self, watched: _Watched, outcome: ProbeResult, now: float, doubt: OutageDetector) -> bool:
        health, witness = watched.health, watched.witness
        frozen = doubt.frozen
        doubt.heard(witness, outcome.ok, now)
        if frozen:
            return False
        turns = health.heard(outcome.ok)
        if outcome.ok:
            self._held.pop(watched, None)
            return turns
        if health.count == 1:
            witness.failing_since = now
        if turns and (self._held or doubt.suspects(witness, now)):
            self._held[watched] = outcome
            return False
        return turns

    def _turn(self, watched: _Watched, outcome: ProbeResult, wall: float) -> Transition:
        health = watched.health
        before, count = health.verdict, health.count
        verdict = health.turn(outcome, wall)
        if self._doubt is not None:
            self._doubt.turned(watched.witness, down=not verdict.up)
        return Transition(watched.target, verdict, before, outcome, count)
