"""Problems of objects of the configuration, each printed as one line."""

from collections.abc import Hashable, Iterator
from typing import NamedTuple

import msgspec

from clusterf.lib.mapping import put
from clusterf.lib.text import escape, printable

__all__ = ["KnownProblems", "Problem", "ProblemsOf", "conflict", "cut"]

_SHOWN = 200  # characters of an untrusted value in a log line, at most


class Problem(msgspec.Struct, frozen=True):
    """A problem of one key of one source.

    `path` is the key path, `field` is empty where the object as a whole is
    meant. `fatal`: the object is not used; else this is only a warning, about something that is
    ignored, unless it is just a `note`.
    `str()` of it is one printable line, whatever the parts hold.
    """

    source: str
    path: bytes
    field: str
    reason: str
    fatal: bool
    note: bool = False

    def __str__(self) -> str:
        source, field, reason = (printable(part, _SHOWN) for part in (self.source, self.field, self.reason))
        parts = (source, escape(self.path), field, reason)
        return ": ".join(filter(None, parts))


def cut(text: str) -> str:
    """Return `text`, shortened if it is too long for a log line."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


class ProblemsOf(NamedTuple):
    """The problems of `subject`, all of them; none: it has no problem any more."""

    subject: object
    problems: tuple[Problem, ...]


class KnownProblems:
    """The problems of each subject, as reported last."""

    def __init__(self) -> None:
        self._problems: dict[object, tuple[Problem, ...]] = {}

    def report(self, subject: Hashable, problems: tuple[Problem, ...]) -> Iterator[ProblemsOf]:
        """Set the problems of the subject, and yield them if they have changed."""
        if put(self._problems, subject, problems or None):
            yield ProblemsOf(subject, problems)


def conflict(path: bytes, reason: str) -> Problem:
    """Return the problem of an object that is valid by itself but not together with others."""
    return Problem(source="configuration", path=path, field="", reason=reason, fatal=True)
