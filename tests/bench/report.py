"""What was measured as a table, and whether it reaches what we aim at."""

import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.bench.changes import Changes
from tests.bench.nodes import Memory
from tests.bench.starts import Starts

__all__ = ["Aim", "Results", "aims", "between_markers", "report"]

PACKAGES = ("msgspec", "pykka", "pyroute2", "sortedcontainers", "watchfiles")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
MEMORY_LIMIT = 600  # MB of all processes together
RATIO_LIMIT = 1.5


class Results(NamedTuple):
    """All that was measured in one run."""

    starts: Starts
    changes: list[Changes]  # of the small configuration, and of the large one


class Aim(NamedTuple):
    """Something that we want to be so."""

    text: str
    reached: bool


def aims(results: Results) -> list[Aim]:
    """Return what we aim at, and whether it is reached."""
    starts, (small, large) = results.starts, results.changes
    latency = _percentile(large.latencies, 50) / _percentile(small.latencies, 50)
    cpu = large.cpu / small.cpu
    most = max(_sum(starts.memory).rss, _sum(large.memory).rss) / 1e3
    return [
        Aim(
            f"the operations take less time than `ipvsadm -R`: {starts.fresh.apply / starts.ipvsadm:.2f} of it",
            starts.fresh.apply < starts.ipvsadm,
        ),
        Aim(
            f"a restart with the table right writes nothing: {starts.again.operations} operations",
            starts.again.operations == 0,
        ),
        Aim(f"the latency of a change (p50) grows by at most {RATIO_LIMIT}: {latency:.2f}", latency <= RATIO_LIMIT),
        Aim(f"the CPU time of a change grows by at most {RATIO_LIMIT}: {cpu:.2f}", cpu <= RATIO_LIMIT),
        Aim(f"all processes together stay under {MEMORY_LIMIT} MB: {most:.0f} MB", most < MEMORY_LIMIT),
    ]


def report(results: Results, commands: Iterable[str]) -> str:
    """Return everything as Markdown."""
    lines = [
        *_machine(),
        "",
        "Run with:",
        "",
        *(f"    {command}" for command in commands),
        "",
        *_start_table(results.starts),
        "",
        *_change_table(results.changes),
        "",
        *_memory_table({"guest": results.starts.memory, "host, `--noop`": results.changes[1].memory}),
        "",
        *(f"- {'PASS' if aim.reached else 'FAIL'}: {aim.text}" for aim in aims(results)),
    ]
    return "\n".join(lines) + "\n"


def between_markers(page: str, text: str) -> str:
    """Return `page` with `text` in the place that is for it. Raises ValueError if it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"no place between {BEGIN} and {END}")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def _machine() -> Iterator[str]:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    yield f"{datetime.now(UTC):%Y-%m-%d}; {found[1] if found else platform.machine()}, {os.cpu_count()} cores,"
    yield f"{memory:.0f} GB; Linux {platform.release()}; Python {platform.python_version()},"
    yield ", ".join(f"{name} {version(name)}" for name in PACKAGES) + "."


def _start_table(starts: Starts) -> Iterator[str]:
    fresh, again = starts.fresh, starts.again
    yield f"| start, {starts.shape} backends, in the guest | seconds |"
    yield "| --- | ---: |"
    yield f"| `ipvsadm -R` | {starts.ipvsadm:.2f} |"
    yield f"| node: the {fresh.operations:,} operations | {fresh.apply:.2f} |"
    yield f"| node: from exec to the last operation | {fresh.last:.2f} |"
    yield f"| node: the same again, {again.operations} operations, from exec to exit | {again.exit:.2f} |"


def _change_table(changes: list[Changes]) -> Iterator[str]:
    yield (
        f"| one change of {len(changes[0].latencies)}, `--noop` | "
        + " | ".join(f"{each.shape} backends" for each in changes)
        + " | ratio |"
    )
    yield "| --- " + "| ---: " * (len(changes) + 1) + "|"
    yield _row("latency, p50, ms", [_percentile(each.latencies, 50) * 1e3 for each in changes])
    yield _row("latency, p99, ms", [_percentile(each.latencies, 99) * 1e3 for each in changes])
    yield _row("CPU time, ms", [each.cpu * 1e3 for each in changes])
    yield _row("CPU time when nothing changes, ms/s", [each.idle * 1e3 for each in changes])


def _row(name: str, values: list[float]) -> str:
    return f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + f" | {values[-1] / values[0]:.2f} |"


def _memory_table(places: Mapping[str, Mapping[str, Memory]]) -> Iterator[str]:
    yield "| memory, PSS / RSS in MB | " + " | ".join(places) + " |"
    yield "| --- " + "| ---: " * len(places) + "|"
    for name in next(iter(places.values())):
        yield f"| {name} | " + " | ".join(_megabytes(memory[name]) for memory in places.values()) + " |"
    yield "| together | " + " | ".join(_megabytes(_sum(memory)) for memory in places.values()) + " |"


def _megabytes(memory: Memory) -> str:
    return f"{memory.pss / 1e3:.0f} / {memory.rss / 1e3:.0f}"


def _sum(memory: Mapping[str, Memory]) -> Memory:
    return Memory(sum(each.pss for each in memory.values()), sum(each.rss for each in memory.values()))


def _percentile(values: list[float], percent: int) -> float:
    """Return the smallest value that so many percent of the values do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]
