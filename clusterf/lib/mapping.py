"""Dictionaries that hold state by key, where None stands for a missing key."""

from typing import TypeVar

__all__ = ["put"]

K = TypeVar("K")
V = TypeVar("V")


def put(mapping: dict[K, V], key: K, value: V | None) -> bool:
    """Set `key`, or with None remove it; return whether that changed the mapping."""
    if mapping.get(key) == value:
        return False
    if value is None:
        del mapping[key]
    else:
        mapping[key] = value
    return True
