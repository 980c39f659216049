"""Randomness, so that many nodes, or many timers of one, do not act at the same moment."""

import random
from collections.abc import Iterable
from typing import TypeVar

__all__ = ["jittered", "share", "shuffled"]

T = TypeVar("T")

# of its own: the module's generator may be seeded by others in the process
_random = random.Random()  # noqa: S311


def jittered(seconds: float) -> float:
    """Return `seconds`, up to a fifth less or more."""
    return seconds * _random.uniform(0.8, 1.2)


def share() -> float:
    """Return a random number from 0 to less than 1."""
    return _random.random()


def shuffled(items: Iterable[T]) -> list[T]:
    """Return the items in a random order."""
    shuffled = list(items)
    _random.shuffle(shuffled)
    return shuffled
