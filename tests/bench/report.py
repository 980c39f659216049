"""The report: tables, and which aims are reached."""

import os
import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.bench.changes import Changes
from tests.bench.etcd_report import EtcdResults, etcd_aims, etcd_tables
from tests.bench.figures import RATIO_LIMIT, Aim, memory_table, milliseconds, percentile, row, total
from tests.bench.health_report import HealthResults, health_aims, health_tables
from tests.bench.ipvs import IpvsResults
from tests.bench.ipvs_report import ipvs_aims, ipvs_tables
from tests.bench.nodes import Memory

__all__ = ["Results", "aims", "between_markers", "report"]

PACKAGES = (
    "grpcio",
    "httptools",
    "msgspec",
    "protobuf",
    "pykka",
    "pyroute2",
    "sortedcontainers",
    "watchfiles",
)
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
MEMORY_LIMIT = 600  # MB of all processes together


class Results(NamedTuple):
    """The results of one run. None: that part was not measured."""

    ipvs: IpvsResults | None = None
    changes: Sequence[Changes] | None = None  # of the small configuration, and of the large one
    etcd: EtcdResults | None = None
    health: HealthResults | None = None

    @property
    def memory(self) -> dict[str, dict[str, Memory]]:
        """The memory of processes with the large configuration, by where they ran."""
        places = {
            "guest": self.ipvs and self.ipvs.writings[0].changes.memory,
            "host, `--noop`": self.changes and self.changes[-1].memory,
            "host, `--noop`, etcd": self.etcd and self.etcd.changes[-1].memory,
        }
        return {place: memory for place, memory in places.items() if memory}


def aims(results: Results) -> Iterator[Aim]:
    """Yield the aims, and whether they are reached."""
    if results.ipvs:
        yield from ipvs_aims(results.ipvs)
    if results.changes:
        yield from _change_aims(*results.changes)
    if results.etcd:
        yield from etcd_aims(results.etcd)
    if results.health:
        yield from health_aims(results.health)
    if results.memory:
        most = max(total(memory).rss for memory in results.memory.values()) / 1e3
        yield Aim(f"all processes together stay under {MEMORY_LIMIT} MB: {most:.0f} MB", most < MEMORY_LIMIT)


def _change_aims(small: Changes, large: Changes) -> Iterator[Aim]:
    latency = percentile(large.latencies, 50) / percentile(small.latencies, 50)
    yield Aim(f"the latency of a change (p50) grows by at most {RATIO_LIMIT}: {latency:.2f}", latency <= RATIO_LIMIT)
    cpu = large.cpu / small.cpu
    yield Aim(f"the CPU time of a change grows by at most {RATIO_LIMIT}: {cpu:.2f}", cpu <= RATIO_LIMIT)


def report(results: Results, commands: Iterable[str]) -> str:
    """Return the report as Markdown."""
    lines = [
        *_machine(),
        "",
        "Run with:",
        "",
        *(f"    {command}" for command in commands),
        "",
        *_tables(results),
        *(f"- {'PASS' if aim.reached else 'FAIL'}: {aim.text}" for aim in aims(results)),
    ]
    return "\n".join(lines) + "\n"


def between_markers(page: str, text: str) -> str:
    """Return `page` with `text` between its markers. Raises ValueError if it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"no markers {BEGIN} and {END}")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def _machine() -> Iterator[str]:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    yield f"{datetime.now(UTC):%Y-%m-%d}; {found[1] if found else platform.machine()}, {os.cpu_count()} cores,"
    yield f"{memory:.0f} GB; Linux {platform.release()}; Python {platform.python_version()},"
    yield ", ".join(f"{name} {version(name)}" for name in PACKAGES) + "."


def _tables(results: Results) -> Iterator[str]:
    if results.ipvs:
        yield from (*ipvs_tables(results.ipvs), "")
    if results.changes:
        yield from (*_change_table(results.changes), "")
    if results.etcd:
        yield from (*etcd_tables(results.etcd), "")
    if results.health:
        yield from (*health_tables(results.health), "")
    if results.memory:
        yield from (*memory_table("memory", results.memory), "")


def _change_table(changes: Sequence[Changes]) -> Iterator[str]:
    shapes = " | ".join(f"{each.shape} backends" for each in changes)
    yield f"| one change of {len(changes[0].latencies)}, `--noop` | {shapes} | ratio |"
    yield "| --- " + "| ---: " * (len(changes) + 1) + "|"
    for percent in (50, 99):
        yield milliseconds("latency", [each.latencies for each in changes], percent)
    yield row("CPU time, ms", [each.cpu * 1e3 for each in changes])
    yield row("CPU time when nothing changes, ms/s", [each.idle * 1e3 for each in changes])
