"""What must hold of every text that a decoder makes, and of every line that it logs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from unicodedata import category

from clusterf.lib import logs

__all__ = ["assert_printable", "check_line", "logged"]

LONGEST = 20_000  # characters of a line; what it quotes is cut
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols by their category


def assert_printable(text: str) -> None:
    """Assert that a text is one line that shows all that it holds, in its order."""
    wrong = {char for char in text if char != " " and (category(char)[0] not in "LNPS" or char in _INVISIBLE)}
    assert not wrong, f"not printable: {sorted(map(ascii, wrong))} in {text!a}"
    assert len(text) <= LONGEST, f"a line of {len(text)} characters"


def check_line(text: str, *names: str) -> None:
    """Assert that a text is one printable line that has these names in it."""
    assert_printable(text)
    for name in names:
        assert name in text, f"{name} is missing in {text}"


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs._TextFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert record.exc_info is None, f"a traceback is logged: {record.exc_info}"
        self.lines.append(self.format(record))


@contextmanager
def logged() -> Iterator[list[str]]:
    """Return the lines that are logged meanwhile, as they are written; assert that each is one printable line."""
    root, handler = logging.getLogger(), _Lines()
    level, others = root.level, root.handlers
    root.handlers = [handler]
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.handlers = others
        root.setLevel(level)
    for line in handler.lines:
        assert_printable(line)
