"""The report on health checks: tables, and which aims are reached."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from tests.bench.figures import Aim, percentile
from tests.bench.fleets import Fleet
from tests.bench.health_deaths import Deaths
from tests.bench.health_probes import Probing

__all__ = ["HealthPlan", "HealthResults", "health_aims", "health_tables"]

CPU_LIMITS = {"tcp": 2, "http": 3}  # times HAProxy's cost of a probe
LAG_LIMIT = 0.1  # of the interval
PUNCTUAL = 0.99  # of the scheduled probes
DELAY_LIMIT = 1.2  # times keepalived's delay


class HealthPlan(NamedTuple):
    """How much to measure."""

    fleets: Sequence[Fleet]  # that are probed
    mortals: Fleet  # in the guest
    deaths: int


class HealthResults(NamedTuple):
    """The results of one run. For each fleet and for the deaths, the node comes first, then the other program."""

    probings: Sequence[Probing]
    mortals: Fleet
    deaths: Sequence[Deaths]


def health_aims(results: HealthResults) -> Iterator[Aim]:
    """Yield the aims, and whether they are reached."""
    yield from _cpu_aims(results.probings)
    own = [probing for probing in results.probings if probing.program == results.probings[0].program]
    lag = max(probing.lag[100] / probing.fleet.interval for probing in own)
    yield Aim(
        f"health: no probe is behind its schedule by {LAG_LIMIT:.0%} of the interval: at most {lag:.1%}",
        lag < LAG_LIMIT,
    )
    made = min(probing.made for probing in own)
    yield Aim(f"health: at least {PUNCTUAL:.0%} of the probes are made: {made:.1%}", made >= PUNCTUAL)
    node, other = (percentile(each.delays, 50) for each in results.deaths)
    yield Aim(
        f"health: a death is acted on (p50) in at most {DELAY_LIMIT} times what keepalived takes: {node / other:.2f}",
        node / other <= DELAY_LIMIT,
    )


def _cpu_aims(probings: Iterable[Probing]) -> Iterator[Aim]:
    for kind, limit in CPU_LIMITS.items():
        most = max(node.cpu / other.cpu for node, other in _pairs(probings) if node.fleet.kind == kind)
        yield Aim(
            f"health: the CPU time of {kind.upper()} probes is at most {limit} times HAProxy's: {most:.2f}",
            most <= limit,
        )


def health_tables(results: HealthResults) -> Iterator[str]:
    """Yield the lines of all tables."""
    yield from _probing_table(results.probings)
    yield ""
    yield from _death_table(results)


def _probing_table(probings: Sequence[Probing]) -> Iterator[str]:
    yield (
        f"| health: probes every {probings[0].fleet.interval:g} s, each program on one core "
        "| CPU time of each, µs | ratio | behind schedule, % of the interval: p50 | p99 | max | made, % |"
    )
    yield "| --- " + "| ---: " * 6 + "|"
    for node, other in _pairs(probings):
        for each, ratio in ((node, f"{node.cpu / other.cpu:.2f}"), (other, "")):
            lag = " | ".join(f"{each.lag[percent] / each.fleet.interval * 100:.2f}" for percent in (50, 99, 100))
            yield f"| {each.fleet}, {each.program} | {each.cpu * 1e6:.0f} | {ratio} | {lag} | {each.made * 100:.1f} |"


def _death_table(results: HealthResults) -> Iterator[str]:
    fleet, node, other = results.mortals, *results.deaths
    yield (
        f"| health: from a death to weight 0 in the kernel, {len(node.delays)} of {fleet}, "
        f"every {fleet.interval:g} s, in the guest | {node.program} | {other.program} | ratio |"
    )
    yield "| --- | ---: | ---: | ---: |"
    for name, percent in (("p50, s", 50), ("p99, s", 99), ("max, s", 100)):
        ours, theirs = (percentile(each.delays, percent) for each in results.deaths)
        yield f"| {name} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} |"


def _pairs(probings: Iterable[Probing]) -> Iterator[tuple[Probing, Probing]]:
    """Yield the results with the same fleet in pairs."""
    for _, pair in groupby(probings, attrgetter("fleet")):
        node, other = pair
        yield node, other
