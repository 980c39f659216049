"""Patterns that cannot hang, whatever they are: regular expressions, and patterns for names as the shell has them.

Both are RE2's, which searches in time linear in the text, times the size of the compiled
pattern. So that is limited, too: a search of 64 KiB takes about 25 ms with the worst pattern
allowed, less than 1 ms with an ordinary one.

Patterns for names have `*`, `?`, `[a-z]` and `[!a-z]`. The case counts, and the whole name
has to match. There is no escape character: a special one stands for itself in brackets, as
in `[*]`. Bytes of a name that are no UTF-8 count as U+FFFD, which `*` and `?` match.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, Protocol

import re2

__all__ = ["Pattern", "check_pattern", "compile_pattern", "matches_any"]

_LONGEST: Final = 256  # characters of a pattern for names
_MAX_SIZE: Final = 500  # RE2's instructions; an ordinary pattern has 5 to 50
_MAX_MEMORY: Final = 1 << 20  # bytes, of a pattern and its caches during a search


class Pattern(Protocol):
    """A compiled pattern."""

    # in RE2's instructions
    programsize: int

    def search(self, text: bytes, /) -> Any:
        """Return a match anywhere in `text`, or None."""


def compile_pattern(text: str) -> Pattern:
    """Return `text`, in RE2's syntax, as a pattern for UTF-8. Raises ValueError with the reason."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    options.never_capture = True
    try:
        pattern: Pattern = re2.compile(text, options)
    except re2.error as error:
        # the reason, a colon, and the part of the pattern, as bytes
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"invalid regular expression (RE2): {reason}") from None
    if (size := pattern.programsize) > _MAX_SIZE:
        raise ValueError(f"regular expression too complex: {size} instructions of RE2, at most {_MAX_SIZE} allowed")
    return pattern


def check_pattern(text: str) -> str:
    """Return `text`, which is a valid pattern. Raises ValueError with the reason if it is not."""
    _compiled(text)
    return text


def matches_any(name: bytes, patterns: Iterable[str]) -> bool:
    """Tell whether `name` matches at least one of `patterns`, which are valid ones."""
    text = name.decode(errors="replace").encode()
    return any(_compiled(pattern).search(text) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Pattern:
    if not pattern:
        raise ValueError("an empty pattern")
    if len(pattern) > _LONGEST:
        raise ValueError(f"a pattern of {len(pattern)} characters, at most {_LONGEST} allowed")
    if "/" in pattern:
        raise ValueError(f"no name holds a slash: {pattern}")
    translated = _translated(pattern)
    try:
        return compile_pattern(rf"(?s)\A{translated}\z")
    except ValueError:
        raise ValueError(f"pattern too complex: {pattern}") from None


def _translated(pattern: str) -> str:
    """Return the regular expression that matches what `pattern` does. Raises ValueError."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        # the first character of a set may be a closing bracket
        first = at + 1 if pattern[at : at + 1] in {"!", "^"} else at
        end = pattern.find("]", first + 1) if char == "[" else -1
        if end >= 0:
            parts.append(f"[{'^' if first > at else ''}{_members(pattern[first:end])}]")
            at = end + 1
        elif char == "*":
            # several in a row are one
            parts += [".*"] if parts[-1:] != [".*"] else []
        else:
            parts.append("." if char == "?" else _literal(char))
    return "".join(parts)


def _members(text: str) -> str:
    """Return the inside of a set, with each character written as its code."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            low, high = text[at], text[at + 2]
            if low > high:
                raise ValueError(f"a range that is empty: {low}-{high}")
            parts.append(f"{_literal(low)}-{_literal(high)}")
            at += 3
        else:
            parts.append(_literal(text[at]))
            at += 1
    return "".join(parts)


def _literal(char: str) -> str:
    return rf"\x{{{ord(char):x}}}"
