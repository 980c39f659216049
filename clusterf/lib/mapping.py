"""Dictionaries that hold a state by key, in which None stands for what is not there."""

from typing import TypeVar

__all__ = ["put"]

K = TypeVar("K")
V = TypeVar("V")


def put(mapping: dict[K, V], key: K, value: V | None) -> bool:
    """Set `key`, or remove it with None; tell whether that changed anything."""
    if mapping.get(key) == value:
        return False
    if value is None:
        del mapping[key]
    else:
        mapping[key] = value
    return True
