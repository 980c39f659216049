"""Steps of handshakes in threads, by works that take as long as they are told to."""

import asyncio
import hashlib
import logging
import os
import threading
import time
from ipaddress import IPv4Address

import pytest

from clusterf.config.model import HealthCheck
from clusterf.health.probes import handshakes as module
from clusterf.health.probes.handshakes import Handshakes, Wait
from clusterf.health.targets import Target
from clusterf.lib.addresses import Endpoint

OWN = os.getpriority(os.PRIO_PROCESS, 0)  # which is not 0 if tests are to be nice
LONG = 0.02  # seconds of CPU from which a step takes long, in these tests


class Probe:
    def __init__(self, address: str, port: int = 1) -> None:
        self.target = Target(Endpoint(IPv4Address(address).packed, port), HealthCheck(type="https"))
        self.cost = 0.0
        self.wait = Wait()


HOSTILE, GOOD = "10.0.0.66", "10.0.0.1"


def burn(seconds: float) -> int:
    """Take CPU time, mostly without Python's lock; return the thread's priority after that."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2000)
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def short() -> int:
    return burn(0)


def long() -> int:
    return burn(3 * LONG)


async def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_LONG", LONG)
    monkeypatch.setattr(module, "_LOOK", 0.005)


@pytest.fixture
def run():
    """Return what runs a coroutine with handshakes, and ends all threads after that."""

    def run(work):
        async def both():
            handshakes = Handshakes(asyncio.get_running_loop())
            try:
                return await asyncio.wait_for(work(handshakes), 30)
            finally:
                handshakes.close()

        return asyncio.run(both())

    before = set(threading.enumerate())
    yield run
    ours = {thread for thread in set(threading.enumerate()) - before if thread.name == "handshakes"}
    for thread in ours:
        thread.join(10)
        assert not thread.is_alive()


def test_step_returns_and_raises_what_the_work_does_and_is_paid_for(run):
    probe = Probe(GOOD)

    def fail():
        raise ConnectionResetError(104, "reset")

    async def work(handshakes):
        assert await handshakes.do(probe, lambda: burn(0.01) - OWN + 5) == 5
        with pytest.raises(ConnectionResetError):
            await handshakes.do(probe, fail)

    run(work)
    assert 0.01 <= probe.cost < 1
    assert probe.wait.total(time.monotonic()) < 1


def test_others_go_on_while_steps_take_long_and_those_have_the_least_priority(run, caplog):
    ended = []

    async def step(handshakes, address, work):
        ended.append((address, await handshakes.do(Probe(address), work)))

    async def work(handshakes):
        hostile = [asyncio.create_task(step(handshakes, f"10.0.1.{i}", lambda: burn(0.5))) for i in range(5)]
        await asyncio.sleep(0)
        for _ in range(20):
            await step(handshakes, GOOD, short)
        assert [address for address, _ in ended] == [GOOD] * 20
        await asyncio.gather(*hostile)

    run(work)
    assert {priority for address, priority in ended if address == GOOD} == {OWN}
    assert [priority for address, priority in ended if address != GOOD] == [19] * 5
    [line] = caplog.messages
    assert line.startswith("health: a TLS handshake with 10.0.1.")


def test_address_whose_steps_take_long_has_one_at_a_time_in_threads_of_the_least_priority(run, monkeypatch):
    under_way, most = 0, 0

    def watched() -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        priority = long()
        under_way -= 1
        return priority

    async def work(handshakes):
        await handshakes.do(Probe(HOSTILE), long)
        assert await handshakes.do(Probe(GOOD), short) == OWN
        steps = (handshakes.do(Probe(HOSTILE, port), watched) for port in range(1, 6))
        assert await asyncio.gather(*steps) == [19] * 5
        # also short ones, until the time is over
        assert await handshakes.do(Probe(HOSTILE), short) == 19
        handshakes._known = dict.fromkeys(handshakes._known, handshakes._loop.time())
        assert await handshakes.do(Probe(HOSTILE), short) == OWN

    run(work)
    assert most == 1


def test_number_of_threads_is_limited_and_new_addresses_wait_first(run, monkeypatch):
    monkeypatch.setattr(module, "_CROWD", 2)
    monkeypatch.setattr(module, "_MOST", 3)
    threads = 0

    async def work(handshakes):
        nonlocal threads
        await handshakes.do(Probe(GOOD), short)
        hostile = [asyncio.create_task(handshakes.do(Probe(f"10.0.1.{i}"), lambda: burn(0.2))) for i in range(9)]
        while any(not one.done() for one in hostile):
            await asyncio.wait_for(handshakes.do(Probe(GOOD), short), 2)
            threads = max(threads, sum(one.name == "handshakes" for one in threading.enumerate()))
        await asyncio.gather(*hostile)

    run(work)
    assert threads <= module._MOST + module._PROMPT


def test_next_probe_of_the_target_pays_for_a_step_that_nobody_waits_for_any_more(run):
    next_one = Probe(HOSTILE)

    async def work(handshakes):
        step = asyncio.create_task(handshakes.do(Probe(HOSTILE), lambda: burn(0.2)))
        await until(lambda: handshakes._slow)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        other = Probe(HOSTILE, 2)
        await handshakes.do(other, short)
        assert other.cost < 0.1
        await handshakes.do(next_one, short)

    run(work)
    assert next_one.cost >= 0.2


def test_step_that_is_cancelled_while_it_waits_is_never_done(run):
    done = []

    async def work(handshakes):
        first = [asyncio.create_task(handshakes.do(Probe(HOSTILE), long)) for _ in range(module._PROMPT)]
        await asyncio.sleep(0)
        waiting = Probe(GOOD)
        last = asyncio.create_task(handshakes.do(waiting, lambda: done.append(1)))
        await asyncio.sleep(0)
        last.cancel()
        await asyncio.gather(*first, last, return_exceptions=True)
        await handshakes.do(Probe(GOOD), short)

    run(work)
    assert done == []


def test_time_that_a_step_waits_for_a_thread_is_counted(run, monkeypatch):
    monkeypatch.setattr(module, "_LONG", 60)
    monkeypatch.setattr(module, "_PROMPT", 1)
    first, second = Probe(HOSTILE), Probe(GOOD)

    async def work(handshakes):
        await asyncio.gather(handshakes.do(first, lambda: burn(0.1)), handshakes.do(second, short))

    run(work)
    assert first.wait.total(time.monotonic()) < 0.05
    assert second.wait.total(time.monotonic()) >= 0.1


def test_time_that_a_step_waits_for_one_of_its_own_target_is_not_counted(run):
    own, other = Probe(HOSTILE), Probe(HOSTILE, 2)

    async def work(handshakes):
        first = asyncio.create_task(handshakes.do(Probe(HOSTILE), lambda: burn(0.3)))
        await until(lambda: handshakes._slow)
        await asyncio.gather(first, handshakes.do(own, short), handshakes.do(other, short))

    run(work)
    assert own.wait.total(time.monotonic()) == 0
    assert other.wait.total(time.monotonic()) > 0


def test_lack_of_threads_is_reported_once_and_made_up_for(run, monkeypatch, caplog):
    start, failures = threading.Thread.start, 3

    def refuse(thread):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    async def work(handshakes):
        monkeypatch.setattr(module._Worker, "start", refuse)
        assert await handshakes.do(Probe(GOOD), lambda: 7) == 7

    run(work)
    assert caplog.record_tuples == [
        (module.__name__, logging.WARNING, "health: no thread for TLS handshakes: can't start new thread")
    ]


def test_what_is_not_permitted_is_done_without(run, monkeypatch):
    def refuse(*_):
        raise PermissionError

    async def work(handshakes):
        monkeypatch.setattr(os, "setpriority", refuse)
        return [await handshakes.do(Probe(HOSTILE), long) for _ in range(2)]

    assert run(work) == [OWN, OWN]


def test_closed_handshakes_start_nothing_and_keep_no_process(run):
    async def work(handshakes):
        tasks = [asyncio.create_task(handshakes.do(Probe(HOSTILE, port), lambda: burn(0.1))) for port in range(1, 4)]
        await asyncio.sleep(0.01)
        handshakes.close()
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "handshakes")
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0.3)

    run(work)
