"""How an object of the configuration is read from JSON, field by field, and what is wrong with it.

Fields are read one by one, so that every invalid one is reported.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from clusterf.config.fields import Read, read_object
from clusterf.config.problems import Problem, cut

__all__ = ["Reading", "Shape"]


class Shape(NamedTuple):
    """How an object is read: its fields by lower-case name, and a function that makes the value of those present."""

    fields: Mapping[str, "Read | Shape"]
    finish: Callable[[dict[str, Any], "Reading"], Any]


class Reading:
    """A value that is being read, and its problems so far."""

    def __init__(self, source: str, path: bytes) -> None:
        self.source = source
        self.path = path
        self.problems: list[Problem] = []
        self.invalid: set[str] = set()  # the fields with a fatal problem

    def fault(self, reason: str, field: str, *others: str) -> None:
        """Report `field` as invalid, unless that or one of the others, which it is checked against, already is."""
        if self.invalid.isdisjoint((field, *others)):
            self.invalid.add(field)
            self.problems.append(Problem(self.source, self.path, field, cut(reason), fatal=True))

    def note(self, reason: str, field: str) -> None:
        """Report something about `field`, which is used nevertheless."""
        self.problems.append(Problem(self.source, self.path, field, cut(reason), fatal=False, note=True))

    def object(self, shape: Shape, data: dict[str, Any], at: str = "") -> Any:
        """Return the value that `shape` makes of `data`; `at` is the prefix of field names in problems."""
        values = {}
        last = {name.lower(): (name, raw) for name, raw in data.items() if raw is not None}
        for field, (name, raw) in last.items():
            read = shape.fields.get(field)
            if read is None:
                self.problems.append(Problem(self.source, self.path, cut(at + name), "unknown field", fatal=False))
                continue
            try:
                if isinstance(read, Shape):
                    values[field] = self.object(read, read_object(raw), f"{at}{field}.")
                else:
                    values[field] = read(raw)
            except ValueError as error:
                self.fault(str(error), at + field)
        return shape.finish(values, self)
