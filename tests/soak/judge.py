"""The invariants, judged from a history: what was seen of the table against what was done.

A loss of weight is explained by a real server that was not wanted, or that
failed, or whose virtual server others had changed by hand: at that time, or as
much before as faults may have delayed the node. All else is a violation.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from tests.soak.history import Change, History, Real, Request, Virtual, as_text
from tests.soak.node import RESYNC
from tests.soak.periods import Delays, Ledger, Period, common, inverted, merged, overlapping
from tests.soak.timeline import Timeline, Weight

__all__ = ["DETECTION", "Judge", "Violation", "explanations", "judge"]

EDIT_SLACK = 3.0  # seconds until an edit is in the table, in the lab's kernel
PROBE_SLACK = 5.0  # seconds until the verdict of a probe is: its timeout, and as above
DETECTION = 10.0  # seconds in which a failed backend is at weight 0
REPAIR = RESYNC + 5.0  # seconds in which a change by hand is undone
DUMP = 0.1  # seconds by which a request may be ahead of the sample that shows what it met

FAILED = "met a backend that failed"
STARVED = "the client was starved of CPU"
NOBODY = "no backend worked, or none was wanted"
BY_HAND = "the virtual server was changed by hand"
REMOVED = "met a backend that was being removed"
EMPTIED = "met an empty pool that had to have a backend"


class Violation(NamedTuple):
    """What did not hold, when, and of what kind."""

    time: float
    kind: str
    text: str


class Judge:
    """Judges one history."""

    def __init__(self, history: History) -> None:
        self._line = Timeline(history)
        self._history = history
        self._delays: Delays = self._line.delays

    def violations(self) -> Iterator[Violation]:
        """Yield all violations."""
        for virtual in sorted(self._line.ours):
            for real in self._line.reals(virtual):
                yield from self._lost(virtual, real)
                yield from self._gained(virtual, real)
                yield from self._kept(virtual, real)
            yield from self._emptied(virtual)
        for virtual in sorted(self._line.changes.keys() - self._line.ours):
            yield from self._foreign(virtual)
        for request in self._history.requests:
            if self.why(request) in {"", EMPTIED}:
                text = f"{request.virtual}: {request.reason} after {request.end - request.begin:.1f} s"
                yield Violation(request.begin, "failed request", text)
        yield from self._of_the_node()

    def _ledger(self, periods: list[Period], slack: float) -> Ledger:
        return Ledger(periods, slack, self._delays)

    def _lost(self, virtual: Virtual, real: Real) -> Iterator[Violation]:
        """Yield losses of weight of a real server that was wanted and working."""
        unwanted = self._ledger(self._line.unwanted(virtual, real), EDIT_SLACK)
        failed = self._ledger(self._line.failed(virtual, real), PROBE_SLACK)
        by_hand = self._ledger(self._line.by_hand(virtual, REPAIR), 0)
        for weight in self._line.weights(virtual, real):
            if weight.lost and not any(ledger.explain(*weight[:2]) for ledger in (unwanted, failed, by_hand)):
                yield Violation(weight.end, "lost weight", f"{virtual} {real}: {weight.before} -> {weight.now}")
            if weight.gained:
                for ledger in (unwanted, failed, by_hand):
                    ledger.undone(weight.begin)

    def _gained(self, virtual: Virtual, real: Real) -> Iterator[Violation]:
        """Yield gains of weight of a real server all of whose backends fail."""
        healthy = self._ledger(inverted(self._line.failed(virtual, real, narrowest=True)), PROBE_SLACK)
        by_hand = self._ledger(self._line.by_hand(virtual, REPAIR), 0)
        for weight in self._line.weights(virtual, real):
            if weight.gained and not any(ledger.explain(*weight[:2]) for ledger in (healthy, by_hand)):
                yield Violation(weight.end, "failed backend has weight again", f"{virtual} {real}: {weight.now}")
            if weight.lost:
                healthy.undone(weight.begin)

    def _kept(self, virtual: Virtual, real: Real) -> Iterator[Violation]:
        """Yield times when a wanted real server has weight for too long after all of its backends failed."""
        failed = self._line.failed(virtual, real, narrowest=True)
        wanted = inverted(self._line.unwanted(virtual, real))
        undisturbed = inverted([*self._delays, *self._line.by_hand(virtual, REPAIR), *self._edits(virtual)])
        due = [Period(p.begin + DETECTION, p.end) for p in common(common(failed, wanted), undisturbed)]
        weights: list[Weight] = list(self._line.weights(virtual, real))
        ends = [weight.begin for weight in weights[1:]] + [self._history.sampling.end]
        for weight, end in zip(weights, ends, strict=True):
            for period in due if weight.now else ():
                begin, until = max(period.begin, weight.end), min(period.end, end)
                if begin < until:
                    yield Violation(begin, "failed backend keeps weight", f"{virtual} {real}: {weight.now}")

    def _edits(self, virtual: Virtual) -> Iterator[Period]:
        """Yield the edits that changed a virtual server, or any check."""
        for (before, _), (now, _) in pairwise(self._line.configurations):
            if now.weights.get(virtual) != before.weights.get(virtual) or "check" in now.text:
                yield Period(now.begin, now.end)

    def _emptied(self, virtual: Virtual) -> Iterator[Violation]:
        """Yield losses of the last weight of a virtual server that has a wanted and working backend."""
        idle = merged(inverted(self._working(virtual)))
        legal = self._ledger(idle, PROBE_SLACK)
        # what its operator takes, and replaces by nothing, goes at once: also before it was found that others recovered
        unknown = self._ledger(inverted(self._working(virtual, PROBE_SLACK)), 0)
        by_hand = self._ledger(self._line.by_hand(virtual, REPAIR), 0)
        before: Change | None = None
        for change in self._line.changes.get(virtual, ()):
            if before is not None and _total(before) and not _total(change):
                lost, at = [real for real, server in before.reals.items() if server.weight], (change.begin, change.end)
                if not (
                    all(self._died(virtual, real, change) for real in lost)
                    or legal.explain(*at)
                    or (all(self._taken(virtual, real, change) for real in lost) and unknown.explain(*at))
                    or by_hand.explain(*at)
                ):
                    yield Violation(change.end, "pool emptied", f"{virtual}: {', '.join(lost)}")
            elif _total(change) and not (before and _total(before)):
                legal.undone(change.begin)
            before = change

    def _died(self, virtual: Virtual, real: Real, change: Change) -> bool:
        return self._ledger(self._line.failed(virtual, real), PROBE_SLACK).explain(change.begin, change.end)

    def _taken(self, virtual: Virtual, real: Real, change: Change) -> bool:
        """Tell whether a real server has failed, or its operator has taken it out without successors."""
        taken = self._ledger(self._line.without_successors(virtual, real), EDIT_SLACK)
        return self._died(virtual, real, change) or taken.explain(change.begin, change.end)

    def _working(self, virtual: Virtual, found: float = 0.0) -> list[Period]:
        """Return when a virtual server had a backend that was wanted and healthy, for `found` seconds already."""
        periods: list[Period] = []
        for configuration, period in self._line.configurations:
            periods += self._line.working_pool(configuration, period, virtual, found)
        return merged(periods)

    def _foreign(self, virtual: Virtual) -> Iterator[Violation]:
        """Yield changes of a virtual server of others that they did not make."""
        actions = [a for a in self._history.actions if a.kind == "foreign" and a.subject == virtual]
        for change in self._line.changes[virtual]:
            text = as_text(change.settings, change.reals)
            made = [action for action in actions if action.begin <= change.end and change.begin <= action.end]
            if not made:
                yield Violation(change.end, "foreign touched", f"{virtual}: {text or 'gone'}")

    def why(self, request: Request) -> str:
        """Return why a request had to fail, empty if nothing explains it."""
        begin, end, virtual = request.begin, request.end, request.virtual
        if overlapping(self._line.by_hand(virtual, REPAIR), begin, end):
            return BY_HAND
        if overlapping(self._line.starved("clients"), begin, end):
            return STARVED
        met = [change for period, change in self._line.states(virtual) if overlapping([period], begin - DUMP, end)]
        reals = {real for change in met for real, server in change.reals.items() if server.weight}
        if any(overlapping(self._line.failing(real.rpartition(":")[0]), begin - DUMP, end) for real in reals):
            return FAILED
        if not met or not all(map(_total, met)):
            idle = overlapping(self._idle(virtual), begin, end)
            return NOBODY if idle else EMPTIED
        cut = [real for real in reals if any(real not in change.reals for change in met)]
        unwanted = any(overlapping(self._line.unwanted(virtual, real), begin - EDIT_SLACK, end) for real in cut)
        return REMOVED if unwanted else ""

    def _idle(self, virtual: Virtual) -> list[Period]:
        """Return when a virtual server may have been without weight, as the node was still to find what works."""
        idle = inverted(self._working(virtual))
        wanted = [Period(period.begin, self._delays.until(period.end + PROBE_SLACK)) for period in idle]
        # one may have failed when another one had only just recovered
        return merged([*wanted, *inverted(self._working(virtual, PROBE_SLACK))])

    def _of_the_node(self) -> Iterator[Violation]:
        """Yield what nothing else than the node itself can be blamed for."""
        for calm in self._history.calms:
            if calm.text:
                yield Violation(calm.end, f"not {calm.kind}", calm.text)
        for action in self._history.actions:
            if action.kind == "exit" and action.text != "gave up":
                yield Violation(action.begin, "exit", f"status {action.subject}: {action.text}")
        for line in self._history.log:
            if line.text.startswith("Traceback"):
                yield Violation(line.time, "traceback", line.text)


def _total(change: Change) -> int:
    return sum(server.weight for server in change.reals.values())


def judge(history: History) -> list[Violation]:
    """Return all violations in a history, in the order of time."""
    return sorted(Judge(history).violations())


def explanations(history: History) -> Counter[str]:
    """Return how many failed requests have which explanation; an empty one is none."""
    found = Judge(history)
    return Counter(map(found.why, history.requests))
