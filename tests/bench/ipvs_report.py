"""The report on writing IPVS tables: tables of results, and which aims are reached."""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from tests.bench.figures import Aim, percentile
from tests.bench.ipvs import IpvsResults, Singles, Writing

__all__ = ["ipvs_aims", "ipvs_tables"]

LIMIT = 1.5  # times the duration with messages encoded beforehand
IPVSADM, KEEPALIVED = 5, 3  # times as fast as these programs
GROWTH = 2  # of the slowest changes of a large table, to those of a small one
_WITHIN = {
    "acknowledged": "messages encoded beforehand, an answer to each",
    "batched": "messages encoded beforehand, an answer to 256",
    "apply": "steps made beforehand, by the node's kernel class",
    "cycle.total": "the director's part, without logs",
    "cycle.steps": "- to say what to write",
    "cycle.kernel": "- to write it",
    "cycle.done": "- to take it as done",
    "reading.total": "to find it right, after a start",
    "reading.kernel": "- to read it",
    "reading.start": "- to compare it",
    "reading.resync": "- to compare it once more, later",
}


def ipvs_aims(results: IpvsResults) -> Iterator[Aim]:
    """Yield the aims, and whether they are reached."""
    for writing in results.writings:
        yield from _writing_aims(writing)
    yield from _single_aims(results.singles)
    for writing in results.writings:
        ratio = percentile(writing.keepalived.latencies, 50) / percentile(writing.changes.latencies, 50)
        yield Aim(
            f"ipvs, {writing.shape}: a node has written a change (p50) before keepalived has reloaded it: "
            f"{ratio:.1f} times as fast",
            ratio > 1,
        )


def _writing_aims(writing: Writing) -> Iterator[Aim]:
    where = f"ipvs, {writing.shape}"
    limit = _best(writing, "apply") / _best(writing, "acknowledged")
    yield Aim(f"{where}: writing takes at most {LIMIT} times what encoded messages do: {limit:.2f}", limit <= LIMIT)
    for name, least, theirs in (
        ("`ipvsadm -R`", IPVSADM, writing.ipvsadm),
        ("keepalived's start", KEEPALIVED, writing.keepalived.start),
    ):
        ratio = theirs / writing.fresh.apply
        yield Aim(f"{where}: a node's operations are {least} times as fast as {name}: {ratio:.1f}", ratio >= least)
    written = writing.again.operations
    yield Aim(f"{where}: a restart with the table right writes nothing: {written} operations", written == 0)


def _single_aims(singles: Sequence[Singles]) -> Iterator[Aim]:
    small, large = singles
    ratio = percentile(large.latencies, 99) / percentile(small.latencies, 50)
    yield Aim(
        f"ipvs: a weight of {large.shape.reals:,} real servers (p99) is written in at most {GROWTH} times "
        f"what one of {small.shape.reals:,} takes (p50), each by one message: {ratio:.2f}",
        ratio <= GROWTH,
    )


def ipvs_tables(results: IpvsResults) -> Iterator[str]:
    """Yield the lines of all tables."""
    yield from _writing_table(results.writings)
    yield ""
    yield from _change_table(results.writings)
    yield ""
    yield from _single_table(results.singles)


def _writing_table(writings: Sequence[Writing]) -> Iterator[str]:
    shapes = " | ".join(f"{writing.shape}" for writing in writings)
    yield f"| ipvs: a table written, in the guest, s | {shapes} |"
    yield "| --- " + "| ---: " * len(writings) + "|"
    for figure, name in _WITHIN.items():
        yield _seconds(name, [_best(writing, figure) for writing in writings])
    yield _seconds("`ipvsadm -R`, from exec to exit", [writing.ipvsadm for writing in writings])
    yield _seconds("keepalived, from exec to the whole table", [writing.keepalived.start for writing in writings])
    yield _seconds("node: the operations", [writing.fresh.apply for writing in writings])
    yield _seconds("node: from exec to the last operation", [writing.fresh.last for writing in writings])
    yield _seconds("node: the same again, from exec to exit", [writing.again.exit for writing in writings])


def _change_table(writings: Sequence[Writing]) -> Iterator[str]:
    shapes = " | ".join(f"{writing.shape}: node | keepalived | ratio" for writing in writings)
    yield f"| ipvs: from one changed file to the kernel, in the guest, ms | {shapes} |"
    yield "| --- " + "| ---: " * (3 * len(writings)) + "|"
    for percent in (50, 100):
        cells: list[str] = []
        for writing in writings:
            pair = (writing.changes.latencies, writing.keepalived.latencies)
            ours, theirs = (percentile(latencies, percent) * 1e3 for latencies in pair)
            cells += [f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}"]
        name = {50: "p50", 100: "max"}[percent]
        counts = f"{len(writings[0].changes.latencies)} and {len(writings[0].keepalived.latencies)} changes"
        yield f"| {name} of {counts} | " + " | ".join(cells) + " |"


def _single_table(singles: Sequence[Singles]) -> Iterator[str]:
    shapes = " | ".join(f"{each.shape} backends" for each in singles)
    yield f"| ipvs: one weight of {len(singles[0].latencies):,} written, in the guest, µs | {shapes} |"
    yield "| --- " + "| ---: " * len(singles) + "|"
    for percent in (50, 90, 99):
        cells = " | ".join(f"{percentile(each.latencies, percent) * 1e6:.0f}" for each in singles)
        yield f"| p{percent} | {cells} |"


def _seconds(name: str, values: Iterable[float]) -> str:
    return f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


def _best(writing: Writing, figure: str) -> float:
    """Return the least of the rounds: other load on the machine only adds to it."""
    of = attrgetter(figure)
    return min(float(of(bulk)) for bulk in writing.rounds)
