"""The promises of the Docker role, judged from what was done to containers and what was seen in etcd and in a table.

- A container that runs keeps its weight in the director's table, whatever fails; for a
  moment it may have none after the kernel has killed a process of it for its memory.
- One that has ended, or is paused, has none soon; one that runs has some soon.
- In etcd it is likewise, but that keys may be away while etcd fails, and as long after it as they take to be back.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.soak.history import Action, Busy, Calm, Change
from tests.soak.hosts.keys import Seen
from tests.soak.hosts.truth import Backend, Truth
from tests.soak.hosts.world import BACKEND_PORT, SERVICES, virtual
from tests.soak.judge import Violation
from tests.soak.periods import ALWAYS, Delays, Ledger, Period, common, inverted, merged

__all__ = ["DELETED", "Evidence", "judge"]

DELETED = "deleted"
"""The kind of action by which somebody deletes a key of a backend: its subject."""

SLACK = 4.0  # seconds until an end of a container is in the table
BOUND = 12.0  # seconds until what a container is, is in the table; a probe that fails takes its part
RECOVERY = 8.0  # seconds after a fault until its effects are over: a start of a node
OOM = 4.0  # seconds for which a kill for memory may count
AWAY = 3.0  # seconds for keys to be back once etcd is


class Evidence(NamedTuple):
    """All that was seen and done."""

    truth: Truth
    actions: Sequence[Action]
    changes: Sequence[Change]
    busy: Sequence[Busy]
    keys: Sequence[Seen]
    calms: Sequence[Calm]
    end: float


class Weight(NamedTuple):
    """A weight that something has from some time between two on; None: it is not there."""

    begin: float
    end: float
    weight: int | None


def judge(evidence: Evidence) -> list[Violation]:
    """Return all violations, in the order of time."""
    return sorted(_Judge(evidence).violations())


class _Judge:
    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._truth = evidence.truth
        faults = [action for action in evidence.actions if action.kind == "fault"]
        slow = [Period(busy.begin, busy.end + RECOVERY) for busy in evidence.busy]
        self._delays = Delays([*(Period(fault.begin, fault.end + RECOVERY) for fault in faults), *slow])
        # while keys may be away
        etcd = [fault for fault in faults if fault.subject.startswith(("etcd", "leases", "keys"))]
        self._away = [Period(fault.begin, fault.end + AWAY) for fault in etcd]

    def violations(self) -> Iterator[Violation]:
        for service in SERVICES:
            ours = [backend for backend in self._truth.backends if backend.service == service]
            for address in sorted({backend.address for backend in ours}):
                group = [backend for backend in ours if backend.address == address]
                real = f"{address}:{BACKEND_PORT}"
                yield from self._of(f"table: {virtual(service)} {real}", group, list(self._table(service, real)), [])
            for path in sorted({backend.path for backend in ours}):
                group = [backend for backend in ours if backend.path == path]
                yield from self._of(f"etcd: {path}", group, list(self._keys(path)), self._away)
        for calm in self._evidence.calms:
            if calm.text:
                yield Violation(calm.end, f"not {calm.kind}", calm.text)

    def _table(self, service: str, real: str) -> Iterator[Weight]:
        for change in self._evidence.changes:
            if change.virtual == virtual(service):
                server = change.reals.get(real)
                yield Weight(change.begin, change.end, server.weight if server else None)

    def _keys(self, path: str) -> Iterator[Weight]:
        for seen in self._evidence.keys:
            yield Weight(seen.begin, seen.end, seen.keys.get(path))

    def _of(
        self, what: str, group: Sequence[Backend], seen: Sequence[Weight], away: Iterable[Period]
    ) -> Iterator[Violation]:
        """Yield what is wrong with what was seen of some backends that are one there."""
        idle = _all(self._truth.idle(backend) for backend in group)
        running = merged(period for backend in group for period in self._truth.running(backend))
        ended = _all([*self._truth.ended(backend), Period(ALWAYS.begin, self._first(backend))] for backend in group)
        yield from self._lost(what, merged([*idle, *self._ooms(group), *self._deleted(group), *away]), seen)
        yield from self._late(what, "has no weight", list(common(running, inverted(away))), seen, has=False)
        yield from self._late(what, "has weight", ended, seen, has=True)

    def _first(self, backend: Backend) -> float:
        return self._truth.backends[backend][0].begin

    def _ooms(self, group: Sequence[Backend]) -> Iterator[Period]:
        for action in self._evidence.actions:
            if action.text == "oom" and any(action.subject.endswith(backend.id[:12]) for backend in group):
                yield Period(action.begin, action.end + OOM)

    def _deleted(self, group: Sequence[Backend]) -> Iterator[Period]:
        """Yield when somebody had deleted the key of one of them."""
        paths = {backend.path for backend in group}
        for action in self._evidence.actions:
            if action.kind == DELETED and action.subject in paths:
                yield Period(action.begin, action.end + AWAY)

    def _lost(self, what: str, allowed: list[Period], seen: Sequence[Weight]) -> Iterator[Violation]:
        """Yield losses of weight that nothing explains."""
        ledger = Ledger(allowed, SLACK, self._delays)
        had = False
        for weight in seen:
            if had and not weight.weight and not ledger.explain(weight.begin, weight.end):
                yield Violation(weight.end, "lost weight", f"{what}: now {weight.weight}")
            elif weight.weight and not had:
                ledger.undone(weight.begin)
            had = bool(weight.weight)

    def _late(
        self, what: str, text: str, due: Iterable[Period], seen: Sequence[Weight], *, has: bool
    ) -> Iterator[Violation]:
        """Yield when something has weight, or has none, for longer than it may while nothing delays that."""
        changes = [weight for before, weight in pairwise([None, *seen]) if not before or _has(before) != _has(weight)]
        ends = [*(weight.begin for weight in changes[1:]), self._evidence.end]
        there = [Period(weight.end, end) for weight, end in zip(changes, ends, strict=True) if _has(weight) == has]
        for period in common(common(due, inverted(self._delays)), there):
            if period.end - period.begin > BOUND:
                yield Violation(period.begin + BOUND, f"{text} for too long", what)


def _has(weight: Weight) -> bool:
    return bool(weight.weight)


def _all(groups: Iterable[Iterable[Period]]) -> list[Period]:
    """Return what is in all of these."""
    found = [ALWAYS]
    for periods in groups:
        found = common(found, periods)
    return found
