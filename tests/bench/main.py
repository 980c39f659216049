"""The benchmark: measure in the guest, measure here, print, judge."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.bench import changes
from tests.bench.report import Results, aims, between_markers, report
from tests.bench.starts import Starts
from tests.bench.trees import Shape

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"


class _Plan(NamedTuple):
    small: Shape
    large: Shape
    changes: int
    memory: str  # of the guest


FULL = _Plan(Shape(1, 100), Shape(1000, 100), 100, "4G")
QUICK = _Plan(Shape(1, 30), Shape(100, 30), 10, "2G")


def main() -> int:
    """Return 1 if something that we aim at is not reached."""
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, only to see that the benchmark works")
    parser.add_argument("--write", action="store_true", help=f"put the results into {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    starts = _starts_in_guest(plan)
    _say(f"changing a node of {plan.small} and one of {plan.large} backends")
    results = Results(starts, changes.measure((plan.small, plan.large), plan.changes))
    text = report(results, [f"make bench{' ARGS=--quick' if arguments.quick else ''}"])
    print(text)
    if arguments.write:
        PAGE.write_text(between_markers(PAGE.read_text(), text))
    return 0 if all(aim.reached for aim in aims(results)) else 1


def _starts_in_guest(plan: _Plan) -> Starts:
    _say(f"starting nodes with {plan.large} backends in a guest")
    subprocess.run([ROOT / "tests/lab/install"], check=True, stdout=sys.stderr)
    lab = [sys.executable, "tests/lab/run", "--timeout", "900", "--memory", plan.memory, "--"]
    measure = [sys.executable, "-m", "tests.bench.starts", *map(str, plan.large)]
    done = subprocess.run([*lab, *measure], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Starts)


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr)
