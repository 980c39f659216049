"""What child processes write to standard error, passed on to that of the node, line by line.

Each child but the director writes into a pipe of its own. What is behind the node's standard error (a terminal,
root's log file, the journal's socket) a process that was taken over could read, truncate, or shut down for all
others. Nor can it write a line that is not printable, or one that passes for the director's, about IPVS, also
for who decodes JSON, or for a journal, which takes the level of a line from its beginning (sd-daemon(3)). (Those
are to be in the log before the table is printed, and thus not passed on by anybody.) And one that writes
without end is read slowly, so that others are read, too: what it cannot write it drops, and counts.
"""

import os
import re
import select
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final

import msgspec

from clusterf.lib.text import printable

__all__ = ["LogRelay"]

_LONGEST: Final = select.PIPE_BUF - 1  # bytes of a line; longer ones are cut, so that each can be written at once
_OPERATION: Final = re.compile(r"\s*(?:<\d*>\s*)*(?:(?:warning|error|critical): )?ipvs\b", re.IGNORECASE)
_LEVEL: Final = re.compile(r"\s*<\d")
_READ: Final = 65536  # bytes that are read at a time
_BURST: Final = 1 << 22  # bytes that a process may write at once: ten thousand events
_RATE: Final = 1 << 16  # bytes a second, beyond that
_MOST_NEW: Final = 64  # pipes that wait for the thread, which waits for who reads
_PATIENCE = 1.0  # seconds to wait at the end for what is left, if nobody reads it


class LogRelay:
    """Copies from the pipes of child processes to the descriptor `to`, in a thread of its own, as `to` may not be read.

    Then pipes fill, and those who write to them drop lines. `json`: their lines are JSON.
    """

    def __init__(self, to: int = 2, *, json: bool = False) -> None:
        self._to = to
        self._json = json
        self._selector = selectors.DefaultSelector()
        self._waker, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._waker, selectors.EVENT_READ)
        # the pipes that are not read now, by when they are again
        self._resting: dict[int, tuple[float, _Lines]] = {}
        self._lock = threading.Lock()
        self._new: list[tuple[int, _Lines]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log relay", daemon=True)
        self._thread.start()

    def open(self, name: str) -> int:
        """Return a descriptor for the standard error of the process called `name`. Raises OSError."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        with self._lock:
            self._new.append((reader, _Lines(name, json=self._json)))
            if len(self._new) > _MOST_NEW:
                # nobody reads, and who wrote into the oldest has ended long ago
                os.close(self._new.pop(0)[0])
        self._wake_up()
        return writer

    def close(self) -> None:
        """Wait until what ended processes have written is passed on, but not for who does not read it."""
        if self._closing:
            return
        self._closing = True
        self._wake_up()
        self._thread.join(_PATIENCE)
        if not self._thread.is_alive():
            self._selector.close()
            self._waker.close()
            self._wake.close()

    def _wake_up(self) -> None:
        with suppress(BlockingIOError):  # it has been told so often enough
            self._wake.send(b"\0")

    def _run(self) -> None:
        while len(self._selector.get_map()) > 1 or self._resting or self._new or not self._closing:
            for key, _ in self._selector.select(self._resume()):
                if key.data is None:
                    self._waker.recv(4096)
                elif not self._pass_on(key.fd, key.data):
                    self._selector.unregister(key.fd)
                    os.close(key.fd)
                elif rest := key.data.rest(time.monotonic()):
                    self._selector.unregister(key.fd)
                    self._resting[key.fd] = time.monotonic() + rest, key.data
            with self._lock:
                new, self._new = self._new, []
            for reader, lines in new:
                self._selector.register(reader, selectors.EVENT_READ, lines)

    def _resume(self) -> float | None:
        """Read again the pipes that have rested, all of them at the end; return in how many seconds others have."""
        now = time.monotonic()
        for reader, (until, lines) in list(self._resting.items()):
            if until <= now or self._closing:
                del self._resting[reader]
                self._selector.register(reader, selectors.EVENT_READ, lines)
        return min((until - now for until, _ in self._resting.values()), default=None)

    def _pass_on(self, reader: int, lines: "_Lines") -> bool:
        """Pass on what can be read; return whether there may be more to come."""
        try:
            data = os.read(reader, _READ)
        except BlockingIOError:
            return True  # somebody else has read it
        for piece in lines.pieces(data):
            self._write(piece)
        return bool(data)

    def _write(self, piece: bytes) -> None:
        while piece:
            try:
                piece = piece[os.write(self._to, piece) :]
            except BlockingIOError:
                select.select([], [self._to], [])
            except OSError:
                return  # nobody is there to read it, there is no space for it, …: nowhere to report that either


class _Lines:
    """The lines of one process, made of what is read of its pipe."""

    def __init__(self, name: str, *, json: bool) -> None:
        self._name = name
        self._json = json
        # bytes that may be read now, as of some time
        self._allowed, self._since = float(_BURST), time.monotonic()
        # the beginning of a line whose end has not come yet
        self._begun = b""

    def rest(self, now: float) -> float:
        """Return for how many seconds no more is to be read, as too much was."""
        self._allowed = min(_BURST, self._allowed + _RATE * (now - self._since))
        self._since = now
        return max(0.0, -self._allowed / _RATE)

    def pieces(self, data: bytes) -> list[bytes]:
        """Return what is to be written now that `data` was read, in pieces of whole lines; empty data is the end."""
        self._allowed -= len(data)
        *lines, self._begun = (self._begun + data).split(b"\n")
        if not data or len(self._begun) > _LONGEST:
            lines, self._begun = [*lines, *([self._begun] if self._begun else [])], b""
        pieces: list[bytes] = []
        for line in map(self._line, lines):
            if pieces and len(pieces[-1]) + len(line) <= select.PIPE_BUF:
                pieces[-1] += line
            else:
                pieces.append(line)
        return pieces

    def _line(self, line: bytes) -> bytes:
        if self._json:
            return self._json_line(line)
        return _cut(self._own(printable(line.decode(errors="backslashreplace")))) + b"\n"

    def _own(self, text: str) -> str:
        """Return the text, beginning with the name of the process if it could pass for that of another one."""
        return f"{self._name}: {text}" if _OPERATION.match(text) or _LEVEL.match(text) else text

    def _json_line(self, line: bytes) -> bytes:
        """Return a line of JSON, whatever was written."""
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except (ValueError, RecursionError):
            event = {"logger": self._name, "message": line.decode(errors="backslashreplace")}
        shown = {printable(name): _shown(value) for name, value in event.items()}
        if "message" in shown:
            shown["message"] = self._own(str(shown["message"]))
        encoded = msgspec.json.encode(shown)
        if len(encoded) > _LONGEST:
            # (our own formatter keeps the limit)
            message = _cut(str(shown.get("message", "")), _LONGEST // 2).decode()
            encoded = msgspec.json.encode({"logger": self._name, "message": message})
        return encoded + b"\n"


def _cut(text: str, longest: int = _LONGEST) -> bytes:
    return text.encode()[:longest].decode(errors="ignore").encode()


def _shown(value: Any) -> Any:
    """Return a value of an event such that its text is printable, each line of a traceback by itself."""
    if isinstance(value, str):
        lines = [printable(line) for line in value.split("\n")]
        return lines[0] if len(lines) == 1 else "\n".join(f"| {line.removeprefix('| ')}" for line in lines)
    return value if value is None or isinstance(value, bool | int | float) else printable(str(value))
