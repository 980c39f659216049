"""What objects keep in their fields, for tests that nothing is kept of what has been removed."""

from clusterf.lib.addresses import Family

__all__ = ["left_behind"]

_SETTINGS = {"_begun", "_decided", "_defaults", "_elide", "_keeps", "_strict"}


def left_behind(part):
    """Return what the object, and the objects of ours that it is made of, still keep, by the name of the field."""
    left = {}
    for name, value in vars(part).items():
        if name in _SETTINGS:
            continue
        if type(value).__module__.startswith("clusterf.") and hasattr(value, "__dict__"):
            left |= {f"{name}.{inner}": each for inner, each in left_behind(value).items()}
        elif isinstance(value, (dict, list, set, int)) and value and not _is_empty_by_family(value):
            left[name] = value
    return left


def _is_empty_by_family(value):
    return isinstance(value, dict) and value.keys() == set(Family) and not any(value.values())
