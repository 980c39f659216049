"""Logging: one event a line on standard error, as text or JSON.

Text lines carry no time and, below a warning, no level: the service manager
stamps them, and an operation can be cut out and replayed. JSON lines carry
both.
"""

import datetime as dt
import logging
import sys
from typing import Literal

import msgspec

__all__ = ["LEVELS", "set_up"]

LEVELS = ("debug", "info", "warning", "error")


class _TextFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        message = _utf8(record.message)
        return message if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {message}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": _utf8(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = _utf8(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def _utf8(text: str) -> str:
    """Return `text` with the bytes of file names that are not UTF-8 escaped."""
    return text.encode(errors="backslashreplace").decode()


def set_up(form: Literal["text", "json"], level: str) -> None:
    """Send what is logged from `level` on to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # their news of every actor and every change of a file is not ours
    for library in ("pykka", "watchfiles"):
        logging.getLogger(library).setLevel(logging.WARNING)
