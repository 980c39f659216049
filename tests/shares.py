"""Sharing tests among runs of pytest, a module at a time, so that each module fixture is made once."""

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = ["SHARE", "own_share"]

SHARE = "CLUSTERF_TEST_SHARE"  # the environment variable that says which share a run has, as `1/2` or `2/2`

T = TypeVar("T")


def own_share(tests: Iterable[T], key: Callable[[T], Any]) -> list[T]:
    """Return the tests of this run's share; `key` gives a test's module. Without the variable all are."""
    tests = list(tests)
    number, count = map(int, os.environ.get(SHARE, "1/1").split("/"))
    modules = {module: place % count for place, module in enumerate(sorted({key(test) for test in tests}))}
    return [test for test in tests if modules[key(test)] == number - 1]
