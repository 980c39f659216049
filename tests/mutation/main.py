"""Mutation testing: how many changes of the code the tests notice, per module, and which they do not."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tests.examples import PERCENT
from tests.mutation.modules import MODULES, ROOT

__all__ = ["main"]

ENOUGH = 90  # percent of all mutants that have to be killed


class Score(msgspec.Struct):
    """What became of the mutants of a module."""

    module: str
    killed: int
    survivors: list[str]
    seconds: float

    @property
    def percent(self) -> float:
        """Return how much of them was killed."""
        return 100 * self.killed / max(1, self.killed + len(self.survivors))

    @property
    def row(self) -> str:
        """Return the row of the table."""
        count, survived = self.killed + len(self.survivors), len(self.survivors)
        return f"| `{self.module}` | {count} | {self.killed} | {survived} | {self.percent:.0f} % |"


def score(module: str) -> Score:
    """Try the mutants of a module, in this process."""
    from tests.mutation.trial import Outcome, try_module

    begin = time.monotonic()
    outcomes: Counter[Outcome] = Counter()
    survivors = []
    with tempfile.TemporaryDirectory(prefix="clusterf-mutation-") as scratch:
        try:
            for mutant, outcome in try_module(module, Path(scratch)):
                outcomes[outcome] += 1
                if outcome is Outcome.SURVIVED:
                    survivors.append(f"{module}:{mutant.line}: {mutant.change}")
        except RuntimeError:
            print((Path(scratch) / "log").read_text(), file=sys.stderr)
            raise
    return Score(module, outcomes[Outcome.KILLED] + outcomes[Outcome.TIMED_OUT], survivors, time.monotonic() - begin)


def _in_own_process(module: str) -> Score:
    command = [sys.executable, "-m", "tests.mutation.main", "--json", module]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    result = msgspec.json.decode(done.stdout, type=Score)
    print(f"{result.row[2:-2]} ({result.seconds:.0f} s)", *result.survivors, sep="\n    ", file=sys.stderr, flush=True)
    return result


def _table(scores: Sequence[Score]) -> str:
    total = Score("all", sum(s.killed for s in scores), [line for s in scores for line in s.survivors], 0)
    head = ["| module | mutants | killed | survived | score |", "| --- | --: | --: | --: | --: |"]
    return "\n".join([*head, *(s.row for s in scores), total.row.replace("`", "")])


def main(arguments: Sequence[str]) -> int:
    """Try the mutants of the given modules, print what survived and the table; return 1 if that is too much."""
    parser = argparse.ArgumentParser(prog="make mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="path of a module; without any, all are tried")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="modules tried at a time")
    parser.add_argument("--json", action="store_true", help="try one module in this process, and print that as JSON")
    options = parser.parse_args(arguments)
    if options.json:
        sys.stdout.buffer.write(msgspec.json.encode(score(options.modules[0])))
        return 0
    os.nice(15)
    # the same examples each time, and few of them
    os.environ |= {"PYTHONHASHSEED": "0", PERCENT: os.environ.get(PERCENT, "20")}
    with ThreadPoolExecutor(options.jobs) as pool:
        scores = list(pool.map(_in_own_process, options.modules or MODULES))
    print(_table(scores))
    killed, survived = sum(s.killed for s in scores), sum(len(s.survivors) for s in scores)
    return int(100 * killed < ENOUGH * (killed + survived))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
