"""The soak of Docker hosts: rounds of containers that come and go under faults, each closed by calm.

In a calm the keys in etcd equal what the containers are, and so does the director's
table; then nothing is written. `run` needs root on this machine, and boots a guest.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import NamedTuple

from tests.soak.history import Action, Busy, Calm, Change, LogLine
from tests.soak.hosts.faults import DIRECTOR_FAULTS, ENGINE_FAULTS, ETCD_FAULTS, NODE_FAULTS, Fault
from tests.soak.hosts.judge import Evidence, judge
from tests.soak.hosts.keys import revisions
from tests.soak.hosts.world import SERVICES, World
from tests.soak.judge import Violation
from tests.soak.lanes import Lane, held
from tests.soak.node import commands

__all__ = ["Soak", "main", "run"]

HOSTS = 2
ROUND = 40.0  # seconds of faults between two times of calm
BOUND = 45.0  # seconds in which keys and table must be exact once faults have stopped
QUIET = 6.0  # seconds in which nothing may be written then
START = 60.0  # seconds for the first table
AROUND = 6.0  # seconds before and after a violation that its story tells
STORIES = 6


class Soak(NamedTuple):
    """What came of a soak."""

    evidence: Evidence
    log: Sequence[LogLine]
    counts: Mapping[str, Mapping[str, int]]
    violations: Sequence[Violation]

    def text(self) -> str:
        """Return the whole report."""
        return "\n".join([*self._stories(), *self._table()])

    def _table(self) -> Iterator[str]:
        yield "| what was done | how often |"
        yield "| --- | --- |"
        for name, counts in self.counts.items():
            for kind, number in sorted(counts.items()):
                yield f"| {name}: {kind} | {number} |"
        exact = [calm.end - calm.begin for calm in self.evidence.calms if calm.kind == "exact" and not calm.text]
        yield f"| changes seen in etcd | {len(self.evidence.keys)} |"
        yield f"| changes seen in the table | {len(self.evidence.changes)} |"
        yield f"| containers | {len(self.evidence.truth.backends)} |"
        yield f"| times that all was exact, after at most {max(exact, default=0):.0f} s | {len(exact)} |"
        yield f"| violations | {len(self.violations)} |"
        for kind, number in sorted(Counter(v.kind for v in self.violations).items()):
            yield f"| - {kind} | {number} |"

    def _stories(self) -> Iterator[str]:
        begin = self.evidence.actions[0].begin if self.evidence.actions else 0.0
        told: Counter[str] = Counter()
        for violation in self.violations:
            yield f"{violation.time - begin:9.3f} VIOLATION {violation.kind}: {violation.text}"
            told[violation.kind] += 1
            if told[violation.kind] <= 2 and told.total() <= STORIES:
                around = [line for line in self._lines() if abs(line.time - violation.time) < AROUND]
                yield from (f"    {line.time - begin:9.3f} {line.text}"[:400] for line in around)

    def _lines(self) -> list[LogLine]:
        lines = [*self.log, *(_line(action) for action in self.evidence.actions)]
        lines += [_line_of_change(change) for change in self.evidence.changes]
        return sorted(lines)


def _line(action: Action) -> LogLine:
    return LogLine(action.begin, f"{action.kind} {action.subject} {action.text} ({action.end - action.begin:.1f} s)")


def _line_of_change(change: Change) -> LogLine:
    reals = " ".join(f"{real}={server.weight}" for real, server in sorted(change.reals.items()))
    return LogLine(change.end, f"table  {change.virtual} {reals}")


def run(folder: Path, seed: int, seconds: float) -> Soak:
    """Run a soak for about that long, and judge it."""
    with World(folder, seed, HOSTS) as world:
        lanes = _lanes(world, seed)
        calms = [_settle(world, START)]
        try:
            for lane in lanes:
                lane.start()
            evidence, log = _rounds(world, lanes, calms, time.monotonic() + seconds)
        finally:
            for lane in lanes:
                lane.close()
    failures = [Violation(evidence.end, "soak", lane.failure) for lane in lanes if lane.failure]
    return Soak(evidence, log, {lane.name: dict(lane.counts) for lane in lanes}, [*judge(evidence), *failures])


def _rounds(world: World, lanes: list[Lane], calms: list[Calm], until: float) -> tuple[Evidence, list[LogLine]]:
    """Let the lanes act in rounds until that time; return what was seen until the last calm, and logged."""
    while True:
        time.sleep(max(0.0, min(ROUND, until - time.monotonic())))
        with held(lanes):
            calms += _calm(world)
            if time.monotonic() >= until or any(lane.failure for lane in lanes):
                return _evidence(world, calms), [*world.log(), *world.recorder.history.log]


def _evidence(world: World, calms: list[Calm]) -> Evidence:
    seen = world.observed()
    return Evidence(
        truth=world.truth,
        actions=sorted(world.recorder.history.actions, key=lambda action: action.begin),
        changes=[one for one in seen if isinstance(one, Change)],
        busy=[one for one in seen if isinstance(one, Busy)],
        keys=list(world.sampler.seen),
        calms=calms,
        end=time.monotonic(),
    )


def _lanes(world: World, seed: int) -> list[Lane]:
    acting = [
        Lane(f"host{host.number}", seed, lambda rng, host=host: host.act(rng, rng.choice(sorted(SERVICES))), (0.2, 2.5))
        for host in world.hosts
    ]
    return [
        *acting,
        Lane("engines", seed, _faults(world, ENGINE_FAULTS), (4, 14)),
        Lane("nodes", seed, _faults(world, NODE_FAULTS), (4, 14)),
        Lane("etcd", seed, _faults(world, ETCD_FAULTS), (4, 18)),
        Lane("director", seed, _faults(world, DIRECTOR_FAULTS), (10, 30)),
    ]


def _faults(world: World, table: Mapping[str, tuple[int, Fault]]) -> Callable[[Random], str]:
    def act(rng: Random) -> str:
        kind = rng.choices(list(table), [often for often, _ in table.values()])[0]
        begin, text = time.monotonic(), "failed"
        try:
            text = table[kind][1](rng, world)
        finally:
            world.recorder.action(begin, "fault", kind, text)
        return kind

    return act


def _calm(world: World) -> Iterator[Calm]:
    """Wait until all is exact, and see that nothing is written then."""
    yield _settle(world, BOUND)
    begin, before, logged = time.monotonic(), revisions(world.etcd), len(commands(_texts(world)))
    time.sleep(QUIET)
    after, written = revisions(world.etcd), commands(_texts(world))[logged:]
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    changed = [path for path in changed if "/nodes/" not in path]
    yield Calm(begin, time.monotonic(), "silent", "; ".join([*changed[:5], *written[:5]]))


def _texts(world: World) -> list[str]:
    return [line.text.removeprefix("director: ") for line in world.log()]


def _settle(world: World, bound: float) -> Calm:
    begin = time.monotonic()
    while (difference := world.difference()) and time.monotonic() < begin + bound:
        time.sleep(0.25)
    return Calm(begin, time.monotonic(), "exact", difference)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a soak as the command line says; 1 if there were violations."""
    parser = argparse.ArgumentParser(prog="soak", description="Soak Docker hosts and a director with faults.")
    parser.add_argument("--seconds", type=float, default=1800, metavar="S", help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, help="of what is done; default: a new one")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else SystemRandom().randrange(1 << 31)
    print(f"soak of Docker hosts: seed {seed}, {options.seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-hosts-") as folder:
        soak = run(Path(folder), seed, options.seconds)
    print(soak.text(), flush=True)
    return 1 if soak.violations else 0


if __name__ == "__main__":
    sys.exit(main())
