import asyncio
import time

import pytest

from clusterf.config.model import HealthCheck
from clusterf.health.probes.costs import Costs
from clusterf.health.targets import Target
from clusterf.lib.addresses import parse_endpoint


class FakeProbe:
    def __init__(self, number, kind="tcp"):
        self.target = Target(parse_endpoint(f"10.0.0.{number}:80"), HealthCheck(type=kind))
        self.cost = 0.0


class Clocks:
    """Costs by clocks that the test sets."""

    def __init__(self):
        self.cpu = self.now = 100.0
        self.costs = Costs(lambda: self.cpu, lambda: self.now)

    def work(self, probe, seconds):
        self.costs.enter(probe)
        self.cpu += seconds
        self.costs.leave()


@pytest.fixture
def clocks():
    return Clocks()


def test_probe_pays_until_another_one_is_entered_or_none(clocks):
    one, two = FakeProbe(1), FakeProbe(2)
    clocks.costs.enter(one)
    clocks.cpu += 1
    clocks.costs.enter(two)
    clocks.cpu += 2
    clocks.costs.leave()
    clocks.cpu += 4
    clocks.work(one, 8)
    assert (one.cost, two.cost) == (9, 2)


def test_busy_process_names_the_targets_that_cost_most(clocks):
    for number, cost in enumerate((0.1, 3.0, 0.2, 0.3, 0.4, 0.5, 1.5), 1):
        clocks.work(FakeProbe(number, "https" if number == 2 else "http"), cost)
    clocks.work(FakeProbe(2, "https"), 2.0)
    clocks.cpu += 1.0  # of others
    clocks.now += 10
    assert clocks.costs.end_period() == (
        "90 % of a CPU, most of it for 10.0.0.2:80 (https, 56 %), 10.0.0.7:80 (http, 17 %), "
        "10.0.0.6:80 (http, 6 %), 10.0.0.5:80 (http, 4 %), 10.0.0.4:80 (http, 3 %)"
    )


def test_each_period_is_counted_anew_and_one_that_is_not_busy_is_not_reported(clocks):
    clocks.work(FakeProbe(1), 9.0)
    clocks.now += 10
    assert clocks.costs.end_period()
    clocks.work(FakeProbe(1), 7.0)
    clocks.now += 10
    assert clocks.costs.end_period() == ""
    clocks.cpu += 9
    clocks.now += 10
    assert clocks.costs.end_period() == "90 % of a CPU, most of it for no target"


def test_steps_of_a_task_are_paid_for_but_not_what_it_waits_for():
    costs, probe, other = Costs(), FakeProbe(1), FakeProbe(2)

    async def work():
        burn(0.02)
        costs.enter(other)
        costs.enter(probe)
        await asyncio.sleep(0)
        burn(0.02)
        return "done"

    async def both():
        task = asyncio.ensure_future(costs.steps(probe, work))
        await asyncio.sleep(0)
        burn(0.1)
        return await task

    assert asyncio.run(both()) == "done"
    assert 0.04 <= probe.cost < 0.1


def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize("how", ["fails", "is cancelled", "handles it"])
def test_errors_pass_through(how):
    costs, probe, seen = Costs(), FakeProbe(1), []

    async def work():
        try:
            await asyncio.sleep(0 if how == "fails" else 10)
        except asyncio.CancelledError as error:
            seen.append(type(error))
            if how == "handles it":
                return "handled"
            raise
        raise ValueError("wrong")

    async def run():
        task = asyncio.ensure_future(costs.steps(probe, work))
        await asyncio.sleep(0)
        if how != "fails":
            task.cancel()
        try:
            return await task
        except (ValueError, asyncio.CancelledError) as error:
            return type(error)

    expected = {"fails": ValueError, "is cancelled": asyncio.CancelledError, "handles it": "handled"}[how]
    assert asyncio.run(run()) == expected
    assert len(seen) == (how != "fails")
