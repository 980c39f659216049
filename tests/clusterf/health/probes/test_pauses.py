import asyncio
import time

import pytest

from clusterf.health.probes.pauses import Pauses


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_time_in_which_the_loop_does_not_run_is_added_up(loop):
    pauses = Pauses(loop)

    for _ in range(3):
        loop.call_soon(time.sleep, 0.25)
        loop.run_until_complete(asyncio.sleep(0.37))
    # the part of a stall before the next look is not noticed
    assert 0.4 < pauses.total() < 1.5
    pauses.close()


def test_present_pause_counts_and_idle_time_does_not(loop):
    pauses = Pauses(loop)
    loop.run_until_complete(asyncio.sleep(0.5))
    before = pauses.total()
    assert before < 0.25
    time.sleep(0.4)
    assert pauses.total() - before > 0.25
    pauses.close()


def test_closed_pauses_have_no_timer(loop):
    Pauses(loop).close()
    loop.run_until_complete(asyncio.sleep(0.2))
