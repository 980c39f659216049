"""The report on etcd: tables, and which aims are reached."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.bench import etcd_changes, etcd_flood, etcd_syncs
from tests.bench.etcd_changes import EtcdChanges
from tests.bench.etcd_flood import Flood
from tests.bench.etcd_source import Prefix, etcd
from tests.bench.etcd_syncs import Sync
from tests.bench.figures import RATIO_LIMIT, Aim, memory_table, milliseconds, percentile, row, total
from tests.bench.trees import Shape

__all__ = ["EtcdPlan", "EtcdResults", "etcd_aims", "etcd_tables", "measure"]

BARE_LIMIT = 3  # times what a bare watch takes
GROWTH_LIMIT = 0.2  # of the memory, while a flood of changes goes through
PUNCTUAL = 0.95  # of the intended rate; below it the result says nothing about a flood


class EtcdPlan(NamedTuple):
    """How much to measure."""

    changes: int
    flooded: Shape
    rate: int  # changes per second
    seconds: float


class EtcdResults(NamedTuple):
    """The results with etcd of one run."""

    changes: Sequence[EtcdChanges]  # of the small configuration, and of the large one
    sync: Sync
    flood: Flood


def measure(small: Shape, large: Shape, plan: EtcdPlan) -> EtcdResults:
    """Measure everything once, in an etcd of its own."""
    with etcd() as (cluster, place):
        prefixes = [Prefix(cluster, name) for name in ("small", "large", "flood")]
        changes = etcd_changes.measure(prefixes[:2], (small, large), plan.changes, place)
        sync = etcd_syncs.measure(prefixes[1], large, place / "sync")
        flood = etcd_flood.measure(prefixes[2], plan.flooded, plan.rate, plan.seconds, place / "flood")
        return EtcdResults(changes, sync, flood)


def etcd_aims(results: EtcdResults) -> Iterator[Aim]:
    """Yield the aims, and whether they are reached."""
    small, large = results.changes
    bare = max(percentile(each.latencies, 99) / percentile(each.bare, 99) for each in results.changes)
    yield Aim(
        f"etcd: the latency of a change (p99) is at most {BARE_LIMIT} times a bare watch's: {bare:.2f}",
        bare <= BARE_LIMIT,
    )
    cpu = large.cpu / small.cpu
    yield Aim(f"etcd: the CPU time of a change grows by at most {RATIO_LIMIT}: {cpu:.2f}", cpu <= RATIO_LIMIT)
    yield from _flood_aims(results.flood)


def _flood_aims(flood: Flood) -> Iterator[Aim]:
    yield Aim(
        f"etcd: the flood came at {flood.rate:,} changes/s: {_rate(flood):,.0f}", _rate(flood) >= PUNCTUAL * flood.rate
    )
    yield Aim(f"etcd: after the flood the table is exact: {flood.wrong} real servers are not", flood.wrong == 0)
    growth = total(flood.after).rss / total(flood.before).rss - 1
    yield Aim(
        f"etcd: the flood leaves the memory within {GROWTH_LIMIT:.0%} of what it was: {growth:+.1%}",
        abs(growth) <= GROWTH_LIMIT,
    )


def etcd_tables(results: EtcdResults) -> Iterator[str]:
    """Yield the lines of all tables."""
    yield from _change_table(results.changes)
    yield ""
    yield from _sync_table(results.sync)
    yield ""
    yield from _flood_table(results.flood)
    yield ""
    yield from memory_table("etcd: memory", {"before the flood": results.flood.before, "after it": results.flood.after})


def _change_table(changes: Sequence[EtcdChanges]) -> Iterator[str]:
    shapes = " | ".join(f"{each.shape} backends" for each in changes)
    yield f"| etcd: one put of {len(changes[0].latencies):,}, `--noop` | {shapes} | ratio |"
    yield "| --- " + "| ---: " * (len(changes) + 1) + "|"
    for percent in (50, 99):
        yield milliseconds("to the operation", [each.latencies for each in changes], percent)
        yield milliseconds("to the event at a bare watch", [each.bare for each in changes], percent)
    yield row("CPU time, ms", [each.cpu * 1e3 for each in changes])
    yield row("CPU time when nothing changes, ms/s", [each.idle * 1e3 for each in changes])


def _sync_table(sync: Sync) -> Iterator[str]:
    yield f"| etcd: first sync, {sync.shape} backends, `--noop` | seconds |"
    yield "| --- | ---: |"
    yield f"| a bare list of the {sync.shape.operations:,} keys | {sync.listing:.2f} |"
    yield f"| node: from exec until all is known | {sync.known:.2f} |"
    yield f"| node: the {sync.start.operations:,} operations | {sync.start.apply:.2f} |"
    yield f"| node: from exec to the last operation | {sync.start.last:.2f} |"


def _flood_table(flood: Flood) -> Iterator[str]:
    yield f"| etcd: a flood, {flood.shape} backends, `--noop` | |"
    yield "| --- | ---: |"
    yield f"| puts | {flood.puts:,} |"
    yield f"| seconds that they took | {flood.took:.2f} |"
    yield f"| operations | {flood.operations:,} |"
    yield f"| real servers that are not as last put | {flood.wrong} |"
    yield f"| from the last put to the last operation, ms | {flood.lag * 1e3:.2f} |"
    yield f"| CPU time for each put, ms | {flood.cpu / flood.puts * 1e3:.2f} |"


def _rate(flood: Flood) -> float:
    return flood.puts / flood.took
