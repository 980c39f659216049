"""Making a script that has found something shorter, as long as it finds the same."""

from dataclasses import replace

from tests.sim.run import Result, run
from tests.sim.script import Event, Script

__all__ = ["minimise"]

TRIES = 400


def minimise(result: Result) -> Result:
    """Return the shortest result that was found in which the same rule is broken."""
    rule = result.violations[0].rule
    best = result
    tries = 0
    size = max(1, len(result.script.events) // 2)
    while size and tries < TRIES:
        at = 0
        while at < len(best.script.events) and tries < TRIES:
            tries += 1
            shorter = run(_without(best.script, at, size))
            if any(violation.rule == rule for violation in shorter.violations):
                best = shorter
            else:
                at += size
        size //= 2
    return best


def _without(script: Script, at: int, size: int) -> Script:
    """Return the script without some events; those after them happen when they did."""
    gap = sum(event.gap for event in script.events[at : at + size])
    rest: tuple[Event, ...] = script.events[at + size :]
    if rest:
        rest = (replace(rest[0], gap=round(rest[0].gap + gap, 3)), *rest[1:])
    return replace(script, events=(*script.events[:at], *rest))
