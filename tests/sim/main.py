"""`make sim`: run seeds for a time, or one of them; minimise what fails, and tell its story."""

import argparse
import random
import sys
import time

from tests.sim.minimise import minimise
from tests.sim.run import Result, run
from tests.sim.script import script_of

__all__ = ["main", "story_of"]


def story_of(result: Result) -> str:
    """Return the story of the shortest script that breaks the same rule, and the script."""
    shortest = minimise(result)
    told = run(shortest.script, verbose=True)
    events = "".join(f"        {event},\n" for event in shortest.script.events)
    script = shortest.script
    header = f"seed {script.seed}: {len(result.script.events)} events, {len(script.events)} of them needed"
    fields = f"source={script.source!r}, nodes={script.nodes}, services={script.services}, check={script.check}"
    fields += f", removal_hold={script.removal_hold}" + (f", hosts={script.hosts}" if script.hosts else "")
    found = f"Script({script.seed}, (\n{events}    ), {fields})"
    return "\n".join([header, *told.world.story.lines(), found])


def main() -> int:
    """Run what the command line says; return 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long to run seeds")
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--first", type=int, help="the seed to begin with, else a random one")
    parser.add_argument(
        "--source", choices=("etcd", "tree", "docker"), help="the kind of source, else as the seed says"
    )
    options = parser.parse_args()
    if options.seed is not None:
        result = run(script_of(options.seed, options.source))
        print(story_of(result) if result.violations else f"seed {options.seed}: no rule is broken")
        return bool(result.violations)
    first = options.first if options.first is not None else random.randrange(10**9)
    return _run_seeds(first, options.seconds, options.source)


def _run_seeds(first: int, seconds: float, source: str | None) -> int:
    began = time.monotonic()
    results: list[Result] = []
    failed = 0
    while time.monotonic() - began < seconds:
        result = run(script_of(first + len(results), source))
        results.append(result._replace(world=None) if not result.violations else result)
        if result.violations and failed < 5:
            failed += 1
            print(story_of(result), flush=True)
        elif result.violations:
            failed += 1
            print(f"seed {result.script.seed}: {result.violations[0].what[:200]}", flush=True)
    taken = time.monotonic() - began
    edits, faults = sum(r.edits for r in results), sum(r.faults for r in results)
    simulated = sum(r.seconds for r in results)
    print(
        f"{len(results)} seeds from {first}: {simulated / 3600:.1f} simulated hours, {edits} edits and {faults} faults "
        f"in {taken:.0f} seconds ({(edits + faults) / taken * 60:,.0f} a minute); {failed} failed"
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
