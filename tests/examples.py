"""How many examples a law is tried with."""

import os

__all__ = ["PERCENT", "examples"]

PERCENT = "CLUSTERF_TEST_EXAMPLES"  # the environment variable that says how many of them; `make check` sets it


def examples(count: int) -> int:
    """Return `count`, or the share of it that is asked for, to give as `max_examples`."""
    return max(1, count * int(os.environ.get(PERCENT, "100")) // 100)
