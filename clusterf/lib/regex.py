"""Regular expressions that whoever writes them cannot make hang: RE2, which takes linear time.

Linear in the text, that is, times the size of the compiled pattern. So that is
bounded, too: a search of 64 KiB with the worst pattern that is let through
takes about 25 ms, with a usual one less than one.
"""

from typing import Any, Final, Protocol

import re2

__all__ = ["Pattern", "compile_pattern"]

_MAX_SIZE: Final = 500  # RE2's instructions; an ordinary pattern has 5 to 50
_MAX_MEMORY: Final = 1 << 20  # bytes, of a pattern and what RE2 keeps with it while it searches


class Pattern(Protocol):
    """A compiled pattern."""

    # in RE2's instructions
    programsize: int

    def search(self, text: bytes, /) -> Any:
        """Return what matches somewhere in `text`, else None."""


def compile_pattern(text: str) -> Pattern:
    """Return `text`, in RE2's syntax, as a pattern for UTF-8. Raises ValueError with what is wrong with it."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    options.never_capture = True
    try:
        pattern: Pattern = re2.compile(text, options)
    except re2.error as error:
        # the reason, a colon, and the part of the pattern, as bytes
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"not a regular expression of RE2: {reason}") from None
    if (size := pattern.programsize) > _MAX_SIZE:
        raise ValueError(f"too complex: RE2 makes {size} instructions of it, the limit is {_MAX_SIZE}")
    return pattern
