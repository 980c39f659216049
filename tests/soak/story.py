"""What a soak has found, as text: the table of what was done, and a story around each violation."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.soak.history import Action, Change, Configuration, History, Real, Server, Virtual
from tests.soak.judge import Violation, explanations

__all__ = ["AROUND", "report", "story", "summary"]

AROUND = 2.0  # seconds of what happened before and after a violation
LISTED = 10  # violations of a kind
STORIES = 8  # at most two a kind and eight in all, as the first explain the rest
LINES = 120  # of a story


def summary(history: History, counts: Mapping[str, Mapping[str, int]], violations: Sequence[Violation]) -> str:
    """Return the table of a soak: one row a line, as Markdown."""
    sampling = history.sampling
    edits = sum(counts.get("edits", {}).values())
    health = sum(counts.get("health", {}).values())
    faults = Counter(action.subject for action in history.actions if action.kind == "fault")
    exact = [calm for calm in history.calms if calm.kind == "exact" and not calm.text]
    slowest = max((calm.end - calm.begin for calm in exact), default=0)
    silent = [calm for calm in history.calms if calm.kind == "silent" and not calm.text]
    rows = [
        ("seed", history.seed),
        ("duration", f"{history.end - history.begin:.0f} s"),
        ("samples of the table", f"{sampling.samples}, the longest gap {sampling.longest * 1000:.0f} ms"),
        ("changes seen", len(history.changes)),
        ("edits", edits),
        ("changes of backends' health", health),
        ("requests answered", history.answered),
        ("requests failed", len(history.requests)),
        *((f"- {why or 'unexplained'}", number) for why, number in sorted(explanations(history).items())),
        ("seconds without idle CPU", sum(busy.who == "kernel" for busy in history.busy)),
        ("faults", faults.total()),
        *((f"- {kind}", number) for kind, number in sorted(faults.items())),
        ("times the table was exact once faults had stopped", f"{len(exact)}, after at most {slowest:.0f} s"),
        ("restarts without a write", len(silent)),
        ("times that the etcd had to be confirmed", sum(action.kind == "confirm" for action in history.actions)),
        ("times the node ended by itself", sum(action.kind == "exit" for action in history.actions)),
        ("violations", len(violations)),
        *((f"- {kind}", number) for kind, number in sorted(Counter(v.kind for v in violations).items())),
    ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def report(history: History, violations: Sequence[Violation]) -> Iterator[str]:
    """Yield one line for each violation, and the stories of the first of each kind."""
    listed: Counter[str] = Counter()
    for violation in violations:
        listed[violation.kind] += 1
        if listed[violation.kind] <= LISTED:
            yield f"{_at(history, violation.time)} VIOLATION {violation.kind}: {violation.text}"
    for kind, number in listed.items():
        if number > LISTED:
            yield f"and {number - LISTED} more: {kind}"
    told: Counter[str] = Counter()
    for violation in violations:
        told[violation.kind] += 1
        if told[violation.kind] <= 2 and told.total() <= STORIES:
            yield f"\n== {violation.kind}: {violation.text}"
            virtual = re.match(r"[\d.]+:80/tcp", violation.text)
            yield from story(history, violation.time, virtual[0] if virtual else "")


def story(history: History, time: float, virtual: Virtual = "") -> Iterator[str]:
    """Yield what happened around a time, one line each; of virtual servers only of one, if it is given."""
    entries = [*_actions(history.actions), *_edits(history.configurations), *_table(history.changes)]
    entries += [(line.time, f"log    {line.text}") for line in history.log]
    entries += [(r.begin, f"failed {r.virtual}: {r.reason} after {r.end - r.begin:.1f} s") for r in history.requests]
    near = sorted(entry for entry in entries if abs(entry[0] - time) <= AROUND and _concerns(entry[1], virtual))
    # of a long story the part around its middle is worth most
    middle = sum(entry[0] < time for entry in near)
    for moment, text in near[max(0, middle - LINES // 2) : middle + LINES // 2]:
        yield f"{_at(history, moment)} {text}"


def _concerns(text: str, virtual: Virtual) -> bool:
    """Tell whether a line is about a virtual server, or about none in particular."""
    named = re.search(r"\b10\.\d+\.0\.\d+:80\b", text)
    return not virtual or not named or named[0] == virtual.removesuffix("/tcp")


def _at(history: History, time: float) -> str:
    return f"{time - history.begin:9.3f}"


def _actions(actions: Iterable[Action]) -> Iterator[tuple[float, str]]:
    for action in actions:
        text = f"{action.kind:<6} {action.subject} {action.text}".rstrip()
        yield action.begin, text
        if action.end - action.begin > AROUND / 4:
            yield action.end, f"{text} (over)"


def _edits(configurations: Iterable[Configuration]) -> Iterator[tuple[float, str]]:
    for configuration in configurations:
        yield configuration.begin, f"edit   {configuration.text}"


def _table(changes: Iterable[Change]) -> Iterator[tuple[float, str]]:
    before: dict[str, Change] = {}
    for change in changes:
        old = before.get(change.virtual)
        yield change.end, f"table  {change.virtual}: {', '.join(_difference(old, change)) or 'settings'}"
        before[change.virtual] = change


def _difference(old: Change | None, new: Change) -> Iterator[str]:
    if new.settings is None:
        yield "gone"
        return
    if old is None or old.settings is None:
        yield "new"
    was: Mapping[Real, Server] = old.reals if old is not None else {}
    for real in sorted(was.keys() | new.reals.keys()):
        weights = [server.weight if server else "-" for server in (was.get(real), new.reals.get(real))]
        if weights[0] != weights[1]:
            yield f"{real} {weights[0]}->{weights[1]}"
