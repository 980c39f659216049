"""Chance, so that those who do the same thing do not do it at the same time."""

import random
from collections.abc import Iterable
from typing import TypeVar

__all__ = ["jittered", "share", "shuffled"]

T = TypeVar("T")

# our own, apart from the one that anyone in the process may seed or watch
_chance = random.Random()  # noqa: S311


def jittered(seconds: float) -> float:
    """Return about so many seconds: up to a fifth less or more."""
    return seconds * _chance.uniform(0.8, 1.2)


def share() -> float:
    """Return any share of one: from 0 to less than 1."""
    return _chance.random()


def shuffled(items: Iterable[T]) -> list[T]:
    """Return the items in any order."""
    shuffled = list(items)
    _chance.shuffle(shuffled)
    return shuffled
