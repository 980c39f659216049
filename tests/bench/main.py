"""The benchmark: measure in the guest, measure here, measure with etcd, print, judge."""

import argparse
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.bench import changes, etcd_report
from tests.bench.etcd_report import EtcdPlan, EtcdResults
from tests.bench.report import Results, aims, between_markers, report
from tests.bench.starts import Starts
from tests.bench.trees import Shape
from tests.lab import etcd

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"


class _Plan(NamedTuple):
    small: Shape
    large: Shape
    changes: int
    memory: str  # of the guest
    etcd: EtcdPlan


FULL = _Plan(Shape(1, 100), Shape(1000, 100), 100, "4G", EtcdPlan(1000, Shape(10, 100), rate=1000, seconds=60))
QUICK = _Plan(Shape(1, 30), Shape(100, 30), 10, "2G", EtcdPlan(20, Shape(2, 30), rate=200, seconds=2))
PARTS = ("start", "change", "etcd")


def main() -> int:
    """Return 1 if something that we aim at is not reached."""
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, only to see that the benchmark works")
    parser.add_argument("--write", action="store_true", help=f"put the results into {PAGE.relative_to(ROOT)}")
    parser.add_argument("--only", choices=PARTS, help="measure one part only")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("the page has the results of all parts: --write does not go with --only")
    results = _measure(QUICK if arguments.quick else FULL, [arguments.only] if arguments.only else PARTS)
    text = report(results, [_command(quick=arguments.quick, only=arguments.only)])
    print(text)
    if arguments.write:
        PAGE.write_text(between_markers(PAGE.read_text(), text))
    return 0 if all(aim.reached for aim in aims(results)) else 1


def _command(*, quick: bool, only: str | None) -> str:
    flags = " ".join(["--quick"] * quick + [f"--only {only}"] * (only is not None))
    return f"make bench ARGS='{flags}'" if flags else "make bench"


def _measure(plan: _Plan, parts: Collection[str]) -> Results:
    return Results(
        starts=_starts_in_guest(plan) if "start" in parts else None,
        changes=_changes(plan) if "change" in parts else None,
        etcd=_with_etcd(plan) if "etcd" in parts else None,
    )


def _starts_in_guest(plan: _Plan) -> Starts:
    _say(f"starting nodes with {plan.large} backends in a guest")
    subprocess.run([ROOT / "tests/lab/install"], check=True, stdout=sys.stderr)
    lab = [sys.executable, "tests/lab/run", "--timeout", "900", "--memory", plan.memory, "--"]
    measure = [sys.executable, "-m", "tests.bench.starts", *map(str, plan.large)]
    done = subprocess.run([*lab, *measure], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Starts)


def _changes(plan: _Plan) -> list[changes.Changes]:
    _say(f"changing a node of {plan.small} and one of {plan.large} backends")
    return changes.measure((plan.small, plan.large), plan.changes)


def _with_etcd(plan: _Plan) -> EtcdResults:
    _say(f"the same with etcd, then {plan.etcd.rate:,} changes per second for {plan.etcd.seconds:g} s")
    etcd.install()
    return etcd_report.measure(plan.small, plan.large, plan.etcd)


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr)
