"""Whether this process is starved: how late its event loop is."""

import asyncio
import time
from collections.abc import Callable

from tests.soak.history import Busy

__all__ = ["watch"]

PERIOD = 0.05  # seconds between looks
LATE = 0.25  # seconds


async def watch(who: str, write: Callable[[Busy], None]) -> None:
    """Write each time in which the loop was late, for ever."""
    while True:
        begin = time.monotonic()
        await asyncio.sleep(PERIOD)
        end = time.monotonic()
        if end - begin > PERIOD + LATE:
            write(Busy(begin, end, who))
