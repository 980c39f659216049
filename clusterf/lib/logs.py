"""Logging: one event a line on standard error, as text or JSON.

Text lines carry no time and, below a warning, no level: the service manager
adds them, and an operation can be copied and replayed. JSON lines carry both.

Whatever a record holds, an event is one line without control, bidirectional or invisible
characters, and no longer than what a pipe keeps whole; a traceback follows on lines that
begin with `| `. So nothing from outside can pass for an operation, or for another event.

Thousands of events of one moment are logged as one record of `Lines`, in few writes.
If nobody reads standard error, lines are dropped, and counted, as a node must not wait for that.
"""

import datetime as dt
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from select import PIPE_BUF
from types import TracebackType
from typing import Any, Literal, TextIO

import msgspec

from clusterf.lib.output import Output
from clusterf.lib.text import printable

__all__ = ["LEVELS", "Lines", "set_up"]

log = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds that a line may wait until it is read
_LONGEST_OF_TRACE = 500  # characters of a line of a traceback
_ELLIPSIS = 4  # bytes of an ellipsis, and of the end of the line
_MOST_OF_TRACE = 200  # lines of a traceback, about
_OURS = frozenset({"clusterf", "actors", "__main__", "root"})  # packages whose lines name their subject

LEVELS = ("debug", "info", "warning", "error")


class Lines(tuple[str, ...]):
    """Events of one moment, one a line, logged as the message of one record."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(self)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        lines = [_cut(f"{level}{message}") for message in _messages(record)]
        return "\n".join([*lines, *_trace(self, record)])


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
        }
        if trace := _trace(self, record):
            line["exception"] = "\n".join(trace)
        # with what is printable escaped already, so that a message stays one line when it is decoded
        return "\n".join(_cut_json(line | {"message": message}) for message in _messages(record))


def _messages(record: logging.LogRecord) -> list[str]:
    """Return the events of a record, one printable line each; those of libraries begin with the logger's name."""
    messages = record.msg if isinstance(record.msg, Lines) else [record.getMessage()]
    name = "" if record.name.partition(".")[0] in _OURS else f"{record.name}: "
    return [printable(f"{name}{message}", PIPE_BUF) for message in messages]


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    """Return the lines of the traceback and of the stack that come with a record."""
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    parts += [formatter.formatStack(record.stack_info)] if record.stack_info else []
    lines = [line for part in parts for line in part.split("\n")]
    if len(lines) > _MOST_OF_TRACE:
        lines[_MOST_OF_TRACE // 2 : -_MOST_OF_TRACE // 2] = ["…"]
    return [f"| {printable(line, _LONGEST_OF_TRACE)}" for line in lines]


def _cut(line: str) -> str:
    """Return the line, shortened to what a pipe keeps whole: the rest of a longer one could begin a line."""
    if len(line) < PIPE_BUF // 4:
        return line
    encoded = line.encode()
    return line if len(encoded) < PIPE_BUF else encoded[: PIPE_BUF - _ELLIPSIS].decode(errors="ignore") + "…"


def _cut_json(line: dict[str, Any]) -> str:
    """Return the line as JSON, shortened likewise: its traceback at the beginning, then its message at the end."""
    encoded = msgspec.json.encode(line)
    if (excess := len(encoded) + _ELLIPSIS - PIPE_BUF) > 0 and "exception" in line:
        line["exception"] = "…" + line["exception"].encode()[excess:].decode(errors="ignore")
        encoded = msgspec.json.encode(line)
    if (excess := len(encoded) + _ELLIPSIS - PIPE_BUF) > 0:
        line["message"] = line["message"].encode()[:-excess].decode(errors="ignore") + "…"
        encoded = msgspec.json.encode(line)
    return encoded.decode()


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
            self._write(list(_pieces(self.format(record))))
        except Exception:  # noqa: BLE001 - as logging's own handlers do: an error is reported, and ignored
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Report which line was lost, and by what kind of error: logging itself would print what the line holds."""
        message = f"log line lost: {record.name}:{record.lineno}: {type(sys.exception()).__name__}"
        # that standard error cannot be written is reported nowhere
        with suppress(OSError, ValueError):
            self._output.write(f"{self.format(_record(logging.ERROR, message))}\n", 0.0)

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
    return _record(logging.WARNING, f"{count} lines dropped, as nobody read standard error")


def _record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, level, __file__, 0, message, None, None)


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


def set_up(form: Literal["text", "json"], level: str) -> None:
    """Log to standard error, from `level` on, also what Python itself would print there."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # these log each actor and each change of a file
    for library in ("pykka", "watchfiles"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    # hooks of others, as in tests, stay
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _failed
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_failed
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _ignored


def _failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("process failed: %s", kind.__name__, exc_info=(kind, error, trace))


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    name = failure.thread.name if failure.thread is not None else "?"
    log.critical("thread %s failed: %r", name, failure.exc_value, exc_info=failure.exc_value)


def _ignored(failure: "sys.UnraisableHookArgs") -> None:
    log.error("%s %r: %r (ignored)", failure.err_msg or "exception in", failure.object, failure.exc_value)
