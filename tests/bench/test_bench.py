"""The benchmark runs and its numbers are sane; how good they are is not a test's business."""

import pytest

from tests.bench import changes, starts
from tests.bench.changes import Changes
from tests.bench.nodes import Memory
from tests.bench.report import BEGIN, END, Results, aims, between_markers, report
from tests.bench.starts import Start, Starts
from tests.bench.trees import Shape

SMALL, LARGE = Shape(1, 10), Shape(5, 10)
MEMORY = {"supervisor": Memory(1000, 2000), "director": Memory(300_000, 400_000)}


def results(apply: float = 1.0, latency: float = 0.02, cpu: float = 0.002) -> Results:
    fresh = Start(operations=101_000, first=5.0, last=5.0 + apply, exit=8.0)
    again = Start(operations=0, first=0.0, last=0.0, exit=6.0)
    return Results(
        Starts(Shape(1000, 100), 10.0, fresh, again, MEMORY),
        [
            Changes(Shape(1, 100), [0.02] * 99 + [0.05], 0.002, 0.005, MEMORY),
            Changes(Shape(1000, 100), [latency] * 99 + [0.06], cpu, 0.006, MEMORY),
        ],
    )


@pytest.mark.ipvs
def test_a_start_is_measured_against_ipvsadm() -> None:
    shape = Shape(50, 50)

    measured = starts.measure(shape)

    assert measured.ipvsadm > 0
    assert measured.fresh.operations == shape.operations
    assert 0 < measured.fresh.first < measured.fresh.last < measured.fresh.exit
    assert measured.again.operations == 0
    assert set(measured.memory) == {"supervisor", "config", "director"}
    assert all(0 < memory.pss <= memory.rss for memory in measured.memory.values())


def test_changes_are_measured_at_two_sizes() -> None:
    for measured, shape in zip(changes.measure((SMALL, LARGE), 3), (SMALL, LARGE), strict=True):
        assert measured.shape == shape
        assert len(measured.latencies) == 3
        assert all(0 < latency < 60 for latency in measured.latencies)
        assert measured.idle > 0
        assert set(measured.memory) == {"supervisor", "config", "director"}


def test_the_report_has_the_numbers() -> None:
    text = report(results(apply=2.0, latency=0.025), ["make bench"])

    assert "| `ipvsadm -R` | 10.00 |" in text
    assert "| node: the 101,000 operations | 2.04 |" in text
    assert "| latency, p50, ms | 20.00 | 25.00 | 1.25 |" in text
    assert "| latency, p99, ms | 20.00 | 25.00 | 1.25 |" in text
    assert "| together | 301 / 402 | 301 / 402 |" in text
    assert "FAIL" not in text


@pytest.mark.parametrize("missed", [{"apply": 10.0}, {"latency": 0.031}, {"cpu": 0.0031}])
def test_an_aim_that_is_missed_is_told(missed: dict[str, float]) -> None:
    assert sum(not aim.reached for aim in aims(results(**missed))) == 1


def test_the_report_takes_the_place_of_the_last_one() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    once = between_markers(page, "new\n")

    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert between_markers(once, "new\n") == once


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        between_markers("page", "new")
