"""What a fuzz target is: a decoder that sees foreign bytes, with what must hold of it whatever the bytes are."""

import resource
import time
from collections.abc import Callable, Mapping
from functools import wraps
from random import Random
from typing import NamedTuple

from tests.fuzz.mutate import mutate_bytes

__all__ = ["SEPARATOR", "Target", "parts", "targets"]

SEPARATOR = b"\n%%\n"
"""Between the parts of an input that has several: replies, files, frames."""

SECONDS = 2.0  # of CPU that one input of LARGEST bytes may take, with coverage measured
MEGABYTES = 128  # by which the process may grow for one input
LARGEST = 8192  # bytes of an input, unless a target takes more


class Target(NamedTuple):
    """A decoder under test.

    `check` takes any bytes, returns the outcome in a few words, as it is counted in reports, and
    raises if something that is promised does not hold. `modules` are those whose lines are to be reached.
    """

    check: Callable[[bytes], str]
    modules: tuple[str, ...]
    mutate: Callable[[bytes, Random], bytes] = mutate_bytes
    largest: int = LARGEST


def targets(found: Mapping[str, Target]) -> dict[str, Target]:
    """Return the targets, with bounds of time and memory on their checks."""
    return {name: target._replace(check=_bounded(target.check)) for name, target in found.items()}


def _bounded(check: Callable[[bytes], str]) -> Callable[[bytes], str]:
    @wraps(check)
    def bounded(data: bytes) -> str:
        grown, began = _peak(), time.thread_time()
        outcome = check(data)
        assert (took := time.thread_time() - began) < SECONDS, f"{took:.1f} s of CPU for {len(data)} bytes"
        assert (more := _peak() - grown) < MEGABYTES, f"{more} MB for {len(data)} bytes"
        return outcome

    return bounded


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def parts(data: bytes, most: int = 50) -> list[bytes]:
    """Return the parts of an input, the first `most` of them."""
    return data.split(SEPARATOR)[:most]
