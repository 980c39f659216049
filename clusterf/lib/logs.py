"""Logging: one event a line on standard error, as text or JSON.

Text lines carry no time and, below a warning, no level: the service manager
adds them, and an operation can be copied and replayed. JSON lines carry both.

Thousands of events of one moment are logged as one record of `Lines`, in few writes.
If nobody reads standard error, lines are dropped, and counted, as a node must not wait for that.
"""

import datetime as dt
import logging
import sys
from collections.abc import Iterator
from select import PIPE_BUF
from typing import Literal, TextIO

import msgspec

from clusterf.lib.output import Output

__all__ = ["LEVELS", "Lines", "set_up"]

_PATIENCE = 1.0  # seconds that a line may wait until it is read

LEVELS = ("debug", "info", "warning", "error")


class Lines(tuple[str, ...]):
    """Events of one moment, one a line, logged as the message of one record."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(self)


class _TextFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return record.message if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {record.message}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
        }
        if record.exc_info:
            line["exception"] = _utf8(self.formatException(record.exc_info))
        messages = record.msg if isinstance(record.msg, Lines) else [record.getMessage()]
        return "\n".join(msgspec.json.encode(line | {"message": _utf8(message)}).decode() for message in messages)


class _Handler(logging.Handler):
    """Writes a record in pieces of whole lines that a pipe does not interleave with other writers' (pipe(7))."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._output = Output(stream)
        # whether nobody reads, and how many lines were dropped since the last one that was written
        self._blocked = False
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(list(_pieces(_utf8(self.format(record)))))
        except Exception:  # noqa: BLE001 - as logging's own handlers do: an error is reported, and ignored
            self.handleError(record)

    def close(self) -> None:
        self._output.close()
        super().close()

    def _write(self, pieces: list[str]) -> None:
        """Write the pieces, or drop them; once nobody reads, the next ones are dropped without a wait."""
        patience = 0.0 if self._blocked else _PATIENCE
        try:
            if self._blocked and not self._output.ready:
                raise TimeoutError
            if self._dropped:
                self._output.write(f"{self.format(_dropped(self._dropped))}\n", patience)
                self._dropped = 0
            while pieces:
                self._output.write(pieces[0], patience)
                del pieces[0]
            self._blocked = False
        except TimeoutError:
            self._blocked = True
            self._dropped += sum(piece.count("\n") for piece in pieces)


def _dropped(count: int) -> logging.LogRecord:
    message = f"{count} lines dropped, as nobody read standard error"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)


def _pieces(text: str) -> Iterator[str]:
    """Split `text` into pieces of whole lines, each of at most `PIPE_BUF` bytes if its lines are."""
    lines: list[str] = []
    size = 0
    for line in text.split("\n"):
        length = len(line.encode()) + 1
        if lines and size + length > PIPE_BUF:
            yield "\n".join(lines) + "\n"
            lines, size = [], 0
        lines.append(line)
        size += length
    yield "\n".join(lines) + "\n"


def _utf8(text: str) -> str:
    """Return `text` with those bytes of file names escaped that are not UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def set_up(form: Literal["text", "json"], level: str) -> None:
    """Log to standard error, from `level` on."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # these log each actor and each change of a file
    for library in ("pykka", "watchfiles"):
        logging.getLogger(library).setLevel(logging.WARNING)
