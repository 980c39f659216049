"""Polling, for conditions without an event to wait for."""

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_until"]

T = TypeVar("T")

PAUSE = 0.02  # seconds


def wait_until(condition: Callable[[], T], timeout: float = 10.0) -> T:
    """Return the first true value of `condition`; fail with the last one after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {timeout} s")
        time.sleep(PAUSE)
    return answer
