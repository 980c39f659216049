"""Why what a source does not have, or no longer has, may be wanted all the same."""

from enum import Enum
from typing import NamedTuple

__all__ = ["DoubtKind", "SourceDoubt"]


class DoubtKind(Enum):
    """What is in doubt.

    SOURCE: its removals, as it may be another source than before, or an older one.
    CHANGE: its removals, until a change that is under way is complete.
    UNKNOWN: what it had before this process began: some of its values are invalid or unreadable, and the last
    good ones were not recorded.
    """

    SOURCE = "source"
    CHANGE = "change"
    UNKNOWN = "unknown"


class SourceDoubt(NamedTuple):
    """Why there is a doubt of this kind from here on; None: there is none. Doubts of other kinds stay as they are."""

    reason: str | None
    kind: DoubtKind = DoubtKind.SOURCE
