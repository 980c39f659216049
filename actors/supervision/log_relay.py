"""What child processes write to standard error, passed on to that of the node, line by line.

Each child but the director writes into a pipe of its own. What is behind the node's standard error (a terminal,
root's log file, the journal's socket) a process that was taken over could read, truncate, or shut down for all
others. Nor can it write a line that is not printable, or one that passes for the director's, about IPVS. (Those
are to be in the log before the table is printed, and thus not passed on by anybody.)
"""

import os
import re
import select
import selectors
import socket
import threading
from typing import Final

from clusterf.lib.text import printable

__all__ = ["LogRelay"]

_LONGEST: Final = select.PIPE_BUF - 1  # bytes of a line; longer ones are cut, so that each can be written at once
_OPERATION: Final = re.compile(r"(?:(?:warning|error|critical): )?ipvs\b")
_PATIENCE = 1.0  # seconds to wait at the end for what is left, if nobody reads it


class LogRelay:
    """Copies from the pipes of child processes to the descriptor `to`, in a thread of its own, as `to` may not be read.

    Then pipes fill, and those who write to them drop lines.
    """

    def __init__(self, to: int = 2) -> None:
        self._to = to
        self._selector = selectors.DefaultSelector()
        self._waker, self._wake = socket.socketpair()
        self._selector.register(self._waker, selectors.EVENT_READ)
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
            self._new.append((reader, _Lines(name)))
        self._wake.send(b"\0")
        return writer

    def close(self) -> None:
        """Wait until what ended processes have written is passed on, but not for who does not read it."""
        if self._closing:
            return
        self._closing = True
        self._wake.send(b"\0")
        self._thread.join(_PATIENCE)
        if not self._thread.is_alive():
            self._selector.close()
            self._waker.close()
            self._wake.close()

    def _run(self) -> None:
        pipes = 0
        while pipes or self._new or not self._closing:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._waker.recv(4096)
                elif not self._pass_on(key.fd, key.data):
                    self._selector.unregister(key.fd)
                    os.close(key.fd)
                    pipes -= 1
            with self._lock:
                new, self._new = self._new, []
            for reader, lines in new:
                self._selector.register(reader, selectors.EVENT_READ, lines)
                pipes += 1

    def _pass_on(self, reader: int, lines: "_Lines") -> bool:
        """Pass on what can be read; return whether there may be more to come."""
        data = os.read(reader, 65536)
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

    def __init__(self, name: str) -> None:
        self._name = name
        # the beginning of a line whose end has not come yet
        self._begun = b""

    def pieces(self, data: bytes) -> list[bytes]:
        """Return what is to be written now that `data` was read, in pieces of whole lines; empty data is the end."""
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
        text = printable(line.decode(errors="backslashreplace"))
        if _OPERATION.match(text):
            text = f"{self._name}: {text}"
        return text.encode()[:_LONGEST].decode(errors="ignore").encode() + b"\n"
