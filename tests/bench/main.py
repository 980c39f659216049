"""The benchmark: measure in the guest, on this machine, with etcd and with health checks; print a report."""

import argparse
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from tests.bench import changes, etcd_report, health_probes, rivals
from tests.bench.etcd_report import EtcdPlan, EtcdResults
from tests.bench.fleets import Fleet
from tests.bench.health_deaths import Deaths
from tests.bench.health_report import HealthPlan, HealthResults
from tests.bench.ipvs import IpvsPlan, IpvsResults
from tests.bench.report import Results, aims, between_markers, report
from tests.bench.trees import Shape
from tests.lab import etcd

__all__ = ["main"]

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"


class _Plan(NamedTuple):
    small: Shape
    large: Shape
    changes: int
    memory: str  # of the guest
    ipvs: IpvsPlan
    etcd: EtcdPlan
    health: HealthPlan


FULL = _Plan(
    *(Shape(1, 100), Shape(1000, 100)),
    changes=100,
    memory="5G",
    ipvs=IpvsPlan(
        *(Shape(1, 100), [Shape(1000, 100), Shape(10_000, 10)]),
        rounds=3,
        singles=2000,
        changes=30,
        reloads=10,
    ),
    etcd=EtcdPlan(1000, Shape(10, 100), rate=1000, seconds=60),
    health=HealthPlan(
        [
            *(Fleet("tcp", targets, 2, 1) for targets in (1000, 10_000)),
            *(Fleet("http", targets, 2, 1) for targets in (1000, 2000, 10_000)),
        ],
        Fleet("tcp", 100, 1, 1),
        deaths=40,
    ),
)
QUICK = _Plan(
    *(Shape(1, 30), Shape(100, 30)),
    changes=10,
    memory="2G",
    ipvs=IpvsPlan(Shape(1, 30), [Shape(100, 30), Shape(300, 10)], rounds=1, singles=100, changes=3, reloads=2),
    etcd=EtcdPlan(20, Shape(2, 30), rate=200, seconds=2),
    health=HealthPlan([Fleet("tcp", 100, 0.5, 0.5), Fleet("http", 100, 0.5, 0.5)], Fleet("tcp", 20, 1, 1), deaths=3),
)
PARTS = ("ipvs", "change", "etcd", "health")


def main() -> int:
    """Return 1 if an aim is not reached."""
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, only to check that the benchmark works")
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
        ipvs=_ipvs(plan) if "ipvs" in parts else None,
        changes=_changes(plan) if "change" in parts else None,
        etcd=_with_etcd(plan) if "etcd" in parts else None,
        health=_health(plan) if "health" in parts else None,
    )


def _ipvs(plan: _Plan) -> IpvsResults:
    _say(f"writing {' and '.join(map(str, plan.ipvs.shapes))} backends in a guest")
    rivals.install()
    return _in_guest(plan.memory, "tests.bench.ipvs", [msgspec.json.encode(plan.ipvs).decode()], IpvsResults)


def _changes(plan: _Plan) -> list[changes.Changes]:
    _say(f"changing a node of {plan.small} and one of {plan.large} backends")
    return changes.measure((plan.small, plan.large), plan.changes)


def _with_etcd(plan: _Plan) -> EtcdResults:
    _say(f"the same with etcd, then {plan.etcd.rate:,} changes per second for {plan.etcd.seconds:g} s")
    etcd.install()
    return etcd_report.measure(plan.small, plan.large, plan.etcd)


def _health(plan: _Plan) -> HealthResults:
    _say(f"probing {', '.join(map(str, plan.health.fleets))} targets, and HAProxy the same")
    rivals.install()
    probings = health_probes.measure(plan.health.fleets)
    _say(f"killing {plan.health.deaths} backends in a guest, for a node and for keepalived")
    arguments = *plan.health.mortals, plan.health.deaths
    deaths = _in_guest(plan.memory, "tests.bench.health_deaths", arguments, list[Deaths])
    return HealthResults(probings, plan.health.mortals, deaths)


def _in_guest(memory: str, module: str, arguments: Iterable[object], kind: type[T]) -> T:
    """Run a module in a guest, and return what it prints as JSON."""
    subprocess.run([ROOT / "tests/lab/install"], check=True, stdout=sys.stderr)
    lab = [sys.executable, "tests/lab/run", "--timeout", "1500", "--memory", memory, "--"]
    measure = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run([*lab, *measure], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=kind)


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr)
