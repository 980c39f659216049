"""The benchmark runs, and its results are plausible. Whether they are good is for the benchmark itself."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal

import pytest

from clusterf.ipvs import ipvsadm
from tests.bench import changes, etcd_changes, etcd_report, health_deaths, health_probes, ipvs, keepalived
from tests.bench.changes import Changes
from tests.bench.etcd_changes import EtcdChanges
from tests.bench.etcd_flood import Flood
from tests.bench.etcd_report import EtcdPlan, EtcdResults
from tests.bench.etcd_syncs import Sync
from tests.bench.fleets import PORT, Fleet
from tests.bench.health_deaths import Deaths
from tests.bench.health_probes import Probing
from tests.bench.health_report import HealthResults, health_aims
from tests.bench.health_watch import connects, lags, observer, watch
from tests.bench.ipvs import Bulk, IpvsPlan, IpvsResults, Singles, Writing
from tests.bench.ipvs_director import Cycle, Reading
from tests.bench.ipvs_programs import NodeChanges, Reloads
from tests.bench.ipvs_report import ipvs_aims
from tests.bench.ipvs_tables import table
from tests.bench.nodes import Memory
from tests.bench.report import BEGIN, END, Results, aims, between_markers, report
from tests.bench.starts import Start
from tests.bench.trees import Shape
from tests.system.support.netns import joined, network_namespace

SMALL, LARGE = Shape(1, 10), Shape(5, 10)
MEMORY = {"supervisor": Memory(1000, 2000), "director": Memory(300_000, 400_000)}
PROCESSES = {"supervisor", "config", "health", "director"}


def etcd_results(
    bare: float = 0.002, cpu: float = 0.002, took: float = 60.0, wrong: int = 0, grown: int = 10_000
) -> EtcdResults:
    fresh = Start(operations=101_000, first=5.0, last=6.0, exit=8.0)
    return EtcdResults(
        [
            EtcdChanges(Shape(1, 100), [0.004] * 100, [0.002] * 100, 0.002, 0.005, MEMORY),
            EtcdChanges(Shape(1000, 100), [0.005] * 100, [bare] * 100, cpu, 0.006, MEMORY),
        ],
        Sync(Shape(1000, 100), 0.9, fresh),
        Flood(
            Shape(10, 100), 1000, 60_000, took, 59_000, wrong, 0.003, 30.0,
            {"director": Memory(90_000, 100_000)}, {"director": Memory(90_000, 100_000 + grown)},
        ),
    )  # fmt: skip


def probing(program: str, kind: Literal["tcp", "http"], cpu: float, lag: float = 0.02, probes: int = 6000) -> Probing:
    return Probing(program, Fleet(kind, 1000, 2, 1), probes, cpu * 1e-6, {50: 0.001, 99: 0.01, 100: lag})


def health_results(
    tcp: float = 80, http: float = 120, lag: float = 0.02, probes: int = 6000, delay: float = 2.5
) -> HealthResults:
    return HealthResults(
        [
            *(probing("node", "tcp", tcp, lag, probes), probing("HAProxy", "tcp", 50)),
            *(probing("node", "http", http), probing("HAProxy", "http", 60, lag=1, probes=1)),
        ],
        Fleet("tcp", 100, 1, 1),
        [Deaths("node", [delay] * 40), Deaths("keepalived", [2.5] * 40)],
    )


def bulk(apply: float, read: float) -> Bulk:
    return Bulk(2.0, 0.5, apply, Cycle(2.0, 0.5, 1.25, 0.25), Reading(read, 0.1, 0.2))


def ipvs_results(
    apply: float = 3.0, read: float = 0.5, ipvsadm: float = 10.0, keepalived: float = 6.0, operations: float = 1.9,
    written: int = 0, single: float = 0.00019, reload: float = 0.3,
) -> IpvsResults:  # fmt: skip
    fresh = Start(operations=101_000, first=5.0, last=5.0 + operations, exit=8.0)
    again = Start(operations=written, first=0.0, last=0.0, exit=6.0)
    return IpvsResults(
        [
            Writing(
                Shape(1000, 100),
                [bulk(apply + 1, read + 1), bulk(apply, read)],
                ipvsadm, Reloads(keepalived, [reload] * 9 + [0.9]),
                fresh, again, NodeChanges([0.04] * 29 + [0.1], MEMORY),
            )
        ],
        [Singles(Shape(1, 100), [0.0001] * 100), Singles(Shape(1000, 100), [0.0001] * 98 + [single] * 2)],
    )  # fmt: skip


def results(latency: float = 0.02, cpu: float = 0.002, **etcd: float) -> Results:
    return Results(
        ipvs_results(),
        [
            Changes(Shape(1, 100), [0.02] * 99 + [0.05], 0.002, 0.005, MEMORY),
            Changes(Shape(1000, 100), [latency] * 99 + [0.06], cpu, 0.006, MEMORY),
        ],
        etcd_results(**etcd),
        health_results(),
    )


@pytest.mark.ipvs
def test_tables_are_written_in_every_way() -> None:
    small, shape = Shape(1, 10), Shape(60, 10)

    measured = ipvs.measure(IpvsPlan(small, [shape], rounds=1, singles=3, changes=2, reloads=2))

    [writing] = measured.writings
    [within] = writing.rounds
    times = [within.acknowledged, within.batched, within.apply, within.cycle.steps, within.cycle.kernel]
    times += [within.reading.kernel, within.reading.start, writing.ipvsadm, writing.keepalived.start]
    assert all(0 < took < 60 for took in (*times, *writing.keepalived.latencies, *writing.changes.latencies))
    assert len(writing.keepalived.latencies) == len(writing.changes.latencies) == 2
    assert writing.fresh.operations == shape.operations
    assert 0 < writing.fresh.first <= writing.fresh.last < writing.fresh.exit
    assert writing.again.operations == 0
    assert set(writing.changes.memory) == PROCESSES
    assert all(0 < memory.pss <= memory.rss for memory in writing.changes.memory.values())
    assert [(single.shape, len(single.latencies)) for single in measured.singles] == [(small, 3), (shape, 3)]


def test_table_is_equal_as_text_and_as_values() -> None:
    shape = Shape(3, 4)

    assert ipvsadm.lines(table(shape)) == sorted(shape.table())


def test_keepalived_is_configured_with_the_same_table() -> None:
    lines = "\n".join(keepalived.of_shape(Shape(2, 2), {(1, 0): 20})).split()

    assert lines.count("virtual_server") == 2
    assert [lines[at + 1] for at, word in enumerate(lines) if word == "real_server"] == [
        *("11.0.0.1", "11.0.0.2", "11.0.1.1", "11.0.1.2")
    ]
    assert [lines[at + 1] for at, word in enumerate(lines) if word == "weight"] == ["10", "10", "20", "10"]


def test_changes_are_measured_at_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "IDLE", 0.5)
    for measured, shape in zip(changes.measure((SMALL, LARGE), 3), (SMALL, LARGE), strict=True):
        assert measured.shape == shape
        assert len(measured.latencies) == 3
        assert all(0 < latency < 60 for latency in measured.latencies)
        assert measured.idle > 0
        assert set(measured.memory) == PROCESSES


def test_etcd_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_changes, "IDLE", 0.5)
    measured = etcd_report.measure(SMALL, LARGE, EtcdPlan(3, Shape(2, 10), rate=100, seconds=1))

    for each, shape in zip(measured.changes, (SMALL, LARGE), strict=True):
        assert each.shape == shape
        assert len(each.latencies) == len(each.bare) == 3
        assert all(0 < latency < 60 for latency in each.latencies + each.bare)
        assert set(each.memory) == PROCESSES
    assert measured.sync.start.operations == LARGE.operations
    assert 0 < measured.sync.listing < measured.sync.start.last
    assert measured.flood.puts == 100
    assert 0 < measured.flood.operations <= 100
    assert measured.flood.wrong == 0
    assert set(measured.flood.before) == set(measured.flood.after) == PROCESSES


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_probes_are_measured_beside_haproxy(kind: Literal["tcp", "http"]) -> None:
    fleet = Fleet(kind, 20, 0.25, 0.25)

    measured = health_probes.measure([fleet])

    assert [each.program for each in measured] == ["node", "HAProxy"]
    for each in measured:
        assert each.fleet == fleet
        assert each.made == pytest.approx(1, abs=0.2)
        assert 1e-6 < each.cpu < 0.1
        assert 0 <= each.lag[50] <= each.lag[99] <= each.lag[100] < fleet.interval


@pytest.mark.ipvs
def test_deaths_are_measured_beside_keepalived() -> None:
    measured = health_deaths.measure(Fleet("tcp", 4, 0.5, 0.5), 2)

    assert [each.program for each in measured] == ["node", "keepalived"]
    for each in measured:
        assert len(each.delays) == 2
        # three refusals, of which the first comes within an interval
        assert all(1 <= delay < 30 for delay in each.delays)


def test_connections_are_seen_when_they_open() -> None:
    with network_namespace(), ThreadPoolExecutor(1) as pool:
        watched = pool.submit(_watch_in, Path(f"/proc/self/task/{threading.get_native_id()}/ns/net"))
        began, before, begun = time.time(), connects(), 0
        while not watched.done():
            with socket.socket() as connection:
                connection.connect_ex(("127.1.0.1", PORT))
            begun += 1
        seen = watched.result()
        assert connects() - before == begun

    [(address, times)] = seen.items()
    assert address == IPv4Address("127.1.0.1").packed
    assert 0 < len(times) <= begun
    assert all(began <= at <= time.time() for at in times)


def _watch_in(namespace: Path) -> dict[bytes, list[float]]:
    with joined(namespace), observer() as packets:
        return watch(packets, 0.2)


def test_lag_is_measured_from_the_earliest_probe_of_a_target() -> None:
    seen = {b"a": [100.5, 102.5, 104.6, 106.5], b"b": [101.25, 103.0, 107.0], b"c": [99.0]}

    assert lags(seen, 2.0) == pytest.approx([0, 0, 0.1, 0, 0.25, 0, 0, 0])


def test_report_has_the_results() -> None:
    text = report(results(latency=0.025), ["make bench"])

    assert "| messages encoded beforehand, an answer to 256 | 0.500 |" in text
    assert "| steps made beforehand, by the node's kernel class | 3.000 |" in text
    assert "| to find it right, after a start | 0.600 |" in text
    assert "| `ipvsadm -R`, from exec to exit | 10.000 |" in text
    assert "| node: the operations | 1.909 |" in text
    assert "| p50 of 30 and 10 changes | 40.0 | 300.0 | 0.13 |" in text
    assert "| max of 30 and 10 changes | 100.0 | 900.0 | 0.11 |" in text
    assert "| p99 | 100 | 190 |" in text
    assert "| latency, p50, ms | 20.00 | 25.00 | 1.25 |" in text
    assert "| latency, p99, ms | 20.00 | 25.00 | 1.25 |" in text
    assert "| to the event at a bare watch, p99, ms | 2.00 | 2.00 | 1.00 |" in text
    assert "| node: from exec until all is known | 5.00 |" in text
    assert "| together | 90 / 100 | 90 / 110 |" in text
    assert "| together | 301 / 402 | 301 / 402 | 301 / 402 |" in text
    assert "| 1,000 TCP, node | 80 | 1.60 | 0.05 | 0.50 | 1.00 | 100.0 |" in text
    assert "| 1,000 HTTP, HAProxy | 60 |  | 0.05 | 0.50 | 50.00 | 0.0 |" in text
    assert "| p50, s | 2.50 | 2.50 | 1.00 |" in text
    assert "FAIL" not in text


@pytest.mark.parametrize(
    "missed",
    [
        *({"latency": 0.031}, {"cpu": 0.0031}),
        *({"bare": 0.001}, {"took": 70.0}, {"wrong": 1}, {"grown": 21_000}),
    ],
)
def test_missed_aim_is_reported(missed: dict[str, float]) -> None:
    assert sum(not aim.reached for aim in aims(results(**missed))) == 1


@pytest.mark.parametrize(
    "missed",
    [
        *({"apply": 3.1}, {"ipvsadm": 9.0}, {"keepalived": 5.0}),
        *({"written": 1}, {"single": 0.00021}, {"reload": 0.039}),
    ],
)
def test_missed_aim_of_writing_is_reported(missed: dict[str, Any]) -> None:
    assert [aim.reached for aim in ipvs_aims(ipvs_results(**missed))].count(False) == 1


def test_cpu_time_with_etcd_has_an_aim() -> None:
    aimed_at = etcd_report.etcd_aims(etcd_results(cpu=0.0031))

    assert sum(not aim.reached for aim in aimed_at) == 1


@pytest.mark.parametrize("missed", [{"tcp": 101}, {"http": 181}, {"lag": 0.21}, {"probes": 5900}, {"delay": 3.1}])
def test_missed_aim_of_health_checks_is_reported(missed: dict[str, Any]) -> None:
    assert sum(not aim.reached for aim in health_aims(health_results(**missed))) == 1


def test_health_checks_can_be_reported_alone() -> None:
    text = report(Results(health=health_results()), ["make bench"])

    assert "health: probes every 2 s" in text
    assert "memory" not in text


def test_one_part_can_be_reported_alone() -> None:
    text = report(Results(etcd=etcd_results()), ["make bench"])

    assert "etcd: first sync" in text
    assert "| memory, PSS / RSS in MB | host, `--noop`, etcd |" in text
    assert "ipvs: a table written" not in text


def test_report_replaces_the_previous_one() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    once = between_markers(page, "new\n")

    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert between_markers(once, "new\n") == once


def test_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no markers"):
        between_markers("page", "new")
