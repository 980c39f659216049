"""How an object of the configuration is read from JSON, field by field, and what is wrong with it.

Fields are read one by one, so that every invalid one is reported.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from clusterf.config.fields import Read, read_object
from clusterf.config.problems import Problem, cut

__all__ = ["MOST", "Reading", "Shape"]

MOST: Final = 1000
"""Problems of a value that are kept: one of 1.5 MiB may have 150,000, which would go to each process."""


class Shape(NamedTuple):
    """How an object is read: its fields by lower-case name, and a function that makes the value of those present."""

    fields: Mapping[str, "Read | Shape"]
    finish: Callable[[dict[str, Any], "Reading"], Any]


class Reading:
    """A value that is being read, and its problems so far."""

    def __init__(self, source: str, path: bytes) -> None:
        self.source = source
        self.path = path
        self._problems: list[Problem] = []
        # how many more there are than are kept, and whether one of them is fatal
        self._more, self._more_fatal = 0, False
        self.invalid: set[str] = set()  # the fields with a fatal problem

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The first problems; where there are more, the last one says how many."""
        if not self._more:
            return tuple(self._problems)
        more = Problem(self.source, self.path, "", f"{self._more} more problems", fatal=self._more_fatal)
        return (*self._problems, more)

    def fault(self, reason: str, field: str, *others: str) -> None:
        """Report `field` as invalid, unless that or one of the others, which it is checked against, already is."""
        if self.invalid.isdisjoint((field, *others)):
            self.invalid.add(field)
            self._add(Problem(self.source, self.path, field, cut(reason), fatal=True))

    def ignore(self, reason: str, field: str) -> None:
        """Report `field` as without effect."""
        self._add(Problem(self.source, self.path, cut(field), reason, fatal=False))

    def note(self, reason: str, field: str) -> None:
        """Report something about `field`, which is used nevertheless."""
        self._add(Problem(self.source, self.path, field, cut(reason), fatal=False, note=True))

    def object(self, shape: Shape, data: dict[str, Any], at: str = "") -> Any:
        """Return the value that `shape` makes of `data`; `at` is the prefix of field names in problems."""
        values = {}
        last = {name.lower(): (name, raw) for name, raw in data.items() if raw is not None}
        for field, (name, raw) in last.items():
            read = shape.fields.get(field)
            if read is None:
                self.ignore("unknown field", at + name)
                continue
            try:
                if isinstance(read, Shape):
                    values[field] = self.object(read, read_object(raw), f"{at}{field}.")
                else:
                    values[field] = read(raw)
            except ValueError as error:
                self.fault(str(error), at + field)
        return shape.finish(values, self)

    def _add(self, problem: Problem) -> None:
        if len(self._problems) < MOST:
            self._problems.append(problem)
        else:
            self._more, self._more_fatal = self._more + 1, self._more_fatal or problem.fatal
