"""Cheap draws for state machines: they draw in each of thousands of steps, and that takes most of their time."""

import itertools

from hypothesis import strategies as st

__all__ = ["any_of", "pick"]


def any_of(*choices):
    """Draw one of each of the choices, all at once.

    Hypothesis writes the description of all rules again for many of the steps,
    so this strategy has a short one, unlike `sampled_from`.
    """
    combinations = list(itertools.product(*choices))
    return st.integers(0, len(combinations) - 1).map(lambda number: combinations[number])


def pick(items, index):
    """Return one of the items, whatever their number is."""
    return list(items)[index % len(items)]
