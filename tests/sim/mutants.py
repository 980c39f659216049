"""`make sim-mutants`: take one safety mechanism out at a time, and show which seed finds that."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest.mock import patch

from clusterf.director.removal_hold import Decision
from clusterf.director.unproven import Proving
from clusterf.docker.intake import Intake
from clusterf.leases.leased_keys import NOTHING, LeasedKeys
from tests.sim.run import run
from tests.sim.script import Event, Script, script_of

__all__ = ["MUTANTS", "Mutant", "find"]

SECONDS = 120.0  # after which a mutant counts as not found


class Mutant(NamedTuple):
    """What is replaced by what, and which kind of source shows it; and what else has to be replaced along with it.

    `events` with one Docker host show it, too, sooner than seeds do.
    """

    target: str
    value: Any
    source: str = "etcd"
    along: tuple[tuple[str, Any], ...] = ()
    events: tuple[Event, ...] = ()


def _believe_found(self: Any, written: Mapping[bytes, bytes] = NOTHING) -> list[bytes]:
    """Take in what is on a lease as if this process had written it."""
    _reset_written(self, written)
    self.doubtful = {}
    return []


_reset_written = LeasedKeys.reset_written
_event = Intake.event


def _accept(self: Any, cluster: int, revision: int, deleted: Callable[[], object]) -> None:
    self.accept(cluster, revision)


MUTANTS = {
    "large removals are not held": Mutant(
        "clusterf.director.removal_hold.RemovalHold.judge", lambda *_: Decision.ALLOWED
    ),
    "another etcd is believed": Mutant("clusterf.sources.lineage.Lineage.judge", _accept),
    "records that may be out of date are believed": Mutant("clusterf.lib.store.Store._is_stale", lambda *_: False),
    "what another etcd lacks is deleted": Mutant("clusterf.sources.withheld.Withheld.withholds", lambda *_: False),
    "a lost link is no reason to wait": Mutant("clusterf.director.removal_hold.RemovalHold.complete", lambda *_: None),
    "what cannot be written is not tried again": Mutant("clusterf.lib.store.Store.keep", lambda _: None),
    "what an invalid value was is not missed": Mutant("clusterf.sources.unknown.UnknownPaths.add", lambda *_: None),
    "a hold ends though the sources cannot be read": Mutant(
        "clusterf.director.removal_hold.RemovalHold.alive", lambda *_: None
    ),
    "files are believed at once": Mutant("clusterf.sources.tree_follower.SETTLE", 0.0, "tree"),
    "what is in force counts for nothing under another name": Mutant(
        "clusterf.director.retention.Retention.settings", lambda *_: None
    ),
    "nothing stays for what is not proven yet": Mutant("clusterf.director.merger.Merger.proving", lambda *_: Proving()),
    "a lease from a copied state directory is taken over, and what is on it deleted": Mutant(
        "clusterf.leases.lease_file.LeaseFile._place",
        lambda *_: "",
        "docker",
        along=(("clusterf.leases.leased_keys.LeasedKeys.reset_written", _believe_found),),
    ),
    "what others do to keys of ours is not watched": Mutant(
        "clusterf.leases.lease_session.LeaseSession._take_events", lambda _: None, "docker"
    ),
    "what goes with all leases at once is not held": Mutant(
        "clusterf.sources.lease_ends.LeaseEnds.delete",
        lambda *_: False,
        "docker",
        along=(("clusterf.sources.lease_ends.LeaseEnds.listed", lambda *_: None),),
    ),
    "a lease that ends before the engine has answered takes its keys along": Mutant(
        "clusterf.leases.leased_keys.LeasedKeys.want_found",
        lambda _: None,
        "docker",
        events=(Event(20.0, "restart_blind"), Event(50.0, "hang_up")),
    ),
    "what is published is not on record": Mutant(
        "actors.docker.record_keeper.RecordKeeper.published",
        lambda _: {},
        "docker",
        events=(Event(20.0, "restart_blind", 0, 1), Event(50.0, "hang_up")),
    ),
    "the network of a container without a record is not found in its key": Mutant(
        "clusterf.docker.inventory.Inventory._address_found",
        lambda *_: None,
        "docker",
        events=(Event(20.0, "lose_record", 0, 1), Event(50.0, "hang_up")),
    ),
    "a signal that cannot be recorded is not tried again": Mutant(
        "clusterf.lib.store.Store.keep",
        lambda _: None,
        "docker",
        events=(Event(5.0, "forget_signal", 0, 1), Event(50.0, "hang_up")),
    ),
    "a signal that has just come is compared with the engine's clock": Mutant(
        "clusterf.docker.intake.Intake.event",
        lambda self, line, **_: _event(self, line),
        "docker",
        events=(Event(20.0, "step_engines_clock"), Event(2.0, "stop", 0, 60), Event(50.0, "hang_up")),
    ),
    "a signal from before a start is about the run after it": Mutant(
        "clusterf.docker.stops.StopTracker.started",
        lambda self, one: self._started.add(one),
        "docker",
        events=(
            Event(20.0, "stop", 0, 1),
            Event(5.0, "step_engines_clock", 0, 1),
            Event(2.0, "start"),
            Event(5.0, "kill_docker"),
            Event(50.0, "hang_up"),
        ),
    ),
    "a docker process that hangs is found as late as any other": Mutant(
        "actors.supervision.policy.Policy.within", lambda self, _: self, "docker"
    ),
}


def find(mutant: Mutant, seconds: float = SECONDS) -> str:
    """Return which seed finds a mutant, and how."""
    began = time.monotonic()
    seed = 0
    if mutant.events:
        script = Script(5, mutant.events, nodes=1, services=2, hosts=1)
        what = _violated(mutant, script)
        return f"its own script: {what}" if what and not run(script).violations else f"NOT FOUND by its script: {what}"
    while time.monotonic() - began < seconds:
        seed += 1
        if what := _violated(mutant, script_of(seed, mutant.source)):
            return f"seed {seed}{what}"
    return f"NOT FOUND by {seed} seeds"


def _violated(mutant: Mutant, script: Script) -> str:
    """Return what a script shows of a mutant, empty: nothing."""
    with ExitStack() as stack:
        for target, value in ((mutant.target, mutant.value), *mutant.along):
            stack.enter_context(patch(target, value))
        result = run(script)
    if not result.violations:
        return ""
    what = result.violations[0].what.partition("\n")[0]
    return f" after {result.edits + result.faults} events: {what[:110]}"


def main() -> int:
    """Run all mutants, or those whose names contain an argument; return 1 if one is not found."""
    missed = 0
    for name, mutant in MUTANTS.items():
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        found = find(mutant)
        missed += found.startswith("NOT")
        print(f"{name}: {found}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
