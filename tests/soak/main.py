"""The soak: rounds of faults, edits and traffic, each closed by calm, in which the table must become exact.

`run` makes one in the network namespace of its thread; it writes an IPVS table, and
may only run in a kernel that is there for it.
"""

import argparse
import contextlib
import logging
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple

import msgspec

from tests.soak import plan
from tests.soak.history import Calm, History
from tests.soak.judge import Violation, judge
from tests.soak.lanes import Lane, held, lanes
from tests.soak.node import commands
from tests.soak.observer import Load, State, states
from tests.soak.servers import HEALTHY
from tests.soak.story import report, summary
from tests.soak.world import World
from tests.system.support.netns import network_namespace

__all__ = ["Soak", "main", "run"]

ANOTHER = re.compile(r"another etcd cluster answers, (?P<answers>[0-9a-f]+) instead of")
ROUND = 45.0  # seconds of faults between two times of calm
BOUND = 45.0  # seconds in which the table must be exact once faults have stopped, without those of `Patience`
QUIET = 6.0  # seconds after a restart in which nothing may be written: more than a resync
STARVED = 600.0  # seconds, at most, that do not count
RATE = 40.0  # requests a second
START = 60.0  # seconds for the first table to be exact


class Patience:
    """A bound of time in which seconds without idle CPU do not count, up to a point."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._last = self._end + STARVED
        self._load = Load()

    def over(self) -> bool:
        """Tell whether the time is up; to be called more often than every second."""
        for busy in self._load.busy():
            self._end = min(self._last, self._end + busy.end - busy.begin)
        return time.monotonic() > self._end


class Soak(NamedTuple):
    """What came of a soak."""

    history: History
    counts: Mapping[str, Mapping[str, int]]
    violations: list[Violation]

    def text(self) -> str:
        """Return the whole report."""
        return "\n".join([*report(self.history, self.violations), "", self.summary()])

    def summary(self) -> str:
        """Return the table of what was done and found."""
        return summary(self.history, self.counts, self.violations)


def run(folder: Path, seed: int, seconds: float, rate: float = RATE) -> Soak:
    """Run a soak for about that long, and judge it."""
    with World(folder, seed, rate) as world, _logged(world):
        _settle(world, START)
        world.start_traffic()
        all_lanes = lanes(world, seed)
        until = time.monotonic() + seconds
        try:
            for lane in all_lanes:
                lane.start()
            history = _rounds(world, all_lanes, until)
        finally:
            for lane in all_lanes:
                lane.close()
        return _judged(history, all_lanes)


@contextlib.contextmanager
def _logged(world: World) -> Iterator[None]:
    """Have what the project's code logs in this process in the history."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.recorder.logged(f"soak: {record.getMessage()}")

    handler = Handler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _rounds(world: World, all_lanes: list[Lane], until: float) -> History:
    """Let the lanes act in rounds until that time; return what is recorded of them."""
    for number in count():
        time.sleep(max(0.0, min(ROUND, until - time.monotonic())))
        with held(all_lanes):
            _settle(world, BOUND)
            if number % 2 == 0:
                _restart(world)
            if time.monotonic() >= until or any(lane.failure for lane in all_lanes):
                return world.finish()
    raise AssertionError("there are always more rounds")


def _judged(history: History, all_lanes: Sequence[Lane]) -> Soak:
    violations = [Violation(history.end, "soak", lane.failure) for lane in all_lanes if lane.failure]
    return Soak(history, {lane.name: dict(lane.counts) for lane in all_lanes}, [*judge(history), *violations])


def _expected(world: World) -> dict[str, State]:
    """Return the table that the node must arrive at: what is configured, failed backends with weight 0."""
    objects = world.whole
    down = {path: {**value, "weight": 0} for path, value in objects.items() if _fails(world, path, value)}
    return states(plan.table({**objects, **down}))


def _fails(world: World, path: str, value: Mapping[str, object]) -> bool:
    return "/backends/" in path and world.modes.get(str(value["ipv4"]), HEALTHY) != HEALTHY


def _settle(world: World, bound: float) -> None:
    """Wait until the table is exact, and record whether it was in time."""
    begin, patience = time.monotonic(), Patience(bound)
    while (difference := _difference(world)) and not patience.over():
        _confirm_known(world)
        time.sleep(0.25)
    world.recorder.calm(Calm(begin, time.monotonic(), "exact", difference))


def _confirm_known(world: World) -> None:
    """Confirm the etcd, as an operator has to, if the node takes the other one of a fault for the known one.

    It does if its records were lost, and it was started, while the other one answered.
    """
    history = world.recorder.history
    confirmed = max((action.begin for action in history.actions if action.kind == "confirm"), default=0.0)
    doubts = [line for line in history.log if ANOTHER.search(line.text) or "no longer holding removals" in line.text]
    doubt = ANOTHER.search(doubts[-1].text) if doubts and doubts[-1].time > confirmed else None
    if doubt is not None:
        with world.client() as client:
            known = f"{client.list().cluster:x}"
        if doubt["answers"] == known:
            begin = time.monotonic()
            world.node.send(signal.SIGUSR2)
            world.recorder.action(begin, "confirm", known)


def _difference(world: World) -> str:
    """Return what is wrong with the table, empty if nothing is."""
    try:
        actual = states(world.kernel.read())
    except OSError as error:
        return f"{error}"
    actual = {virtual: state for virtual, state in actual.items() if virtual not in world.foreign}
    expected = _expected(world)
    wrong = sorted(v for v in actual.keys() | expected.keys() if actual.get(v) != expected.get(v))
    return "; ".join(f"{v}: {_text(actual.get(v))} instead of {_text(expected.get(v))}" for v in wrong[:5])


def _text(state: State | None) -> str:
    if state is None:
        return "nothing"
    return " ".join([state[0], *(f"{real}={server.weight}" for real, server in sorted(state[1].items()))])


def _restart(world: World) -> None:
    """Restart the node, and record whether it wrote anything."""
    log = world.recorder.history.log
    since, begin = len(log), time.monotonic()
    world.node.restart()
    patience = Patience(BOUND)
    while not any("health: probing" in line.text for line in log[since:]) and not patience.over():
        time.sleep(0.1)
    world.recorder.action(begin, "restart", "in a calm")
    time.sleep(QUIET)
    written = commands([line.text for line in log[since:]])
    world.recorder.calm(Calm(begin, time.monotonic(), "silent", "; ".join(written[:5])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a soak as the command line says; 1 if there were violations."""
    parser = argparse.ArgumentParser(prog="soak", description="Soak the node with faults, edits and traffic.")
    parser.add_argument("--seconds", type=float, default=1800, metavar="S", help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, help="of what is done; default: a new one")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the history here, as JSON, to be judged again")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="only judge a history that was kept")
    options = parser.parse_args(arguments)
    if options.judge:
        history = msgspec.json.decode(options.judge.read_bytes(), type=History)
        return _print(Soak(history, {}, judge(history)))
    seed = options.seed if options.seed is not None else SystemRandom().randrange(1 << 31)
    print(f"soak: seed {seed}, {options.seconds:.0f} s", flush=True)
    with network_namespace(), tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = run(Path(folder), seed, options.seconds)
    if options.keep:
        options.keep.write_bytes(msgspec.json.encode(soak.history))
    return _print(soak)


def _print(soak: Soak) -> int:
    print(soak.text(), flush=True)
    return 1 if soak.violations else 0


if __name__ == "__main__":
    sys.exit(main())
