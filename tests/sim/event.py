"""One event of a script."""

from dataclasses import dataclass

__all__ = ["Event"]


@dataclass(frozen=True)
class Event:
    """`gap` seconds after the one before it, an edit or a fault happens; the numbers choose to what, and how."""

    gap: float
    kind: str
    first: int = 0
    second: int = 0
    third: int = 0
