"""Health policy: what a row of probes says about a target.

Pure: time is an argument, and nothing here does I/O.
"""

from typing import NamedTuple

import msgspec

__all__ = ["Outcome", "Verdict"]


class Outcome(NamedTuple):
    """How one probe ended. `duration` is in seconds; `reason` is why it failed, in words, empty if it did not."""

    ok: bool
    reason: str
    duration: float


class Verdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the probes of a target have shown: it is up, or down and why.

    `since` is the Unix time in seconds of the change to it.
    """

    up: bool
    since: float
    reason: str = ""
