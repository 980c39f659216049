"""The elements of a report: aims, percentiles, rows of tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.bench.nodes import Memory

__all__ = ["RATIO_LIMIT", "Aim", "memory_table", "milliseconds", "percentile", "row", "total"]

RATIO_LIMIT = 1.5  # of the cost of a change in a large configuration to that in a small one


class Aim(NamedTuple):
    """A limit, in words, and whether it is kept."""

    text: str
    reached: bool


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that `percent` percent of the values do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def row(name: str, values: Sequence[float]) -> str:
    """Return a line with the values, and the ratio of the last to the first."""
    return f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + f" | {values[-1] / values[0]:.2f} |"


def milliseconds(name: str, measured: Iterable[Sequence[float]], percent: int) -> str:
    """Return a line with that percentile of each of the `measured`, which are in seconds."""
    return row(f"{name}, p{percent}, ms", [percentile(values, percent) * 1e3 for values in measured])


def memory_table(title: str, places: Mapping[str, Mapping[str, Memory]]) -> Iterator[str]:
    """Yield the lines of a table of the memory of processes, by place or time."""
    yield f"| {title}, PSS / RSS in MB | " + " | ".join(places) + " |"
    yield "| --- " + "| ---: " * len(places) + "|"
    for name in next(iter(places.values())):
        yield f"| {name} | " + " | ".join(_megabytes(memory[name]) for memory in places.values()) + " |"
    yield "| together | " + " | ".join(_megabytes(total(memory)) for memory in places.values()) + " |"


def total(memory: Mapping[str, Memory]) -> Memory:
    """Return the memory of all processes together."""
    return Memory(sum(each.pss for each in memory.values()), sum(each.rss for each in memory.values()))


def _megabytes(memory: Memory) -> str:
    return f"{memory.pss / 1e3:.0f} / {memory.rss / 1e3:.0f}"
