"""`make sim-mutants`: take one safety mechanism out at a time, and show which seed finds that."""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

from clusterf.director.removal_hold import Decision
from clusterf.director.unproven import Proving
from tests.sim.run import run
from tests.sim.script import script_of

__all__ = ["MUTANTS", "Mutant", "find"]

SECONDS = 120.0  # after which a mutant counts as not found


class Mutant(NamedTuple):
    """What is replaced by what, and which kind of source shows it."""

    target: str
    value: Any
    source: str = "etcd"


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
}


def find(mutant: Mutant, seconds: float = SECONDS) -> str:
    """Return which seed finds a mutant, and how."""
    began = time.monotonic()
    seed = 0
    while time.monotonic() - began < seconds:
        seed += 1
        with patch(mutant.target, mutant.value):
            result = run(script_of(seed, mutant.source))
        if result.violations:
            what = result.violations[0].what.partition("\n")[0]
            return f"seed {seed} after {result.edits + result.faults} events: {what[:110]}"
    return f"NOT FOUND by {seed} seeds"


def main() -> int:
    """Run all mutants; return 1 if one is not found."""
    missed = 0
    for name, mutant in MUTANTS.items():
        found = find(mutant)
        missed += found.startswith("NOT")
        print(f"{name}: {found}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
