"""The one way in which tests wait for what gives no event."""

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_until"]

T = TypeVar("T")

PAUSE = 0.02


def wait_until(condition: Callable[[], T], timeout: float = 10.0) -> T:
    """Return the first true answer of `condition`; fail, naming the last one, when there is none in time."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {timeout} s")
        time.sleep(PAUSE)
    return answer
