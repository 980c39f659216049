"""Writing to standard output and standard error without waiting for ever for who reads them.

Whoever reads may stop reading: a hung logger, a stopped pager. A write would then
wait, and with it the process. The descriptors are shared with other processes, so they are
left in blocking mode: a pipe is opened once more, and a socket is asked for each write.
"""

import errno
import os
import select
import socket
import stat
from typing import TextIO

__all__ = ["Output"]


class Output:
    """What is behind a text stream. One without a descriptor, a file and a terminal are written as they are."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # a descriptor of our own that is written without waiting; None: the stream is written
        self._own = _opened(stream)

    @property
    def ready(self) -> bool:
        """Whether some bytes, though perhaps not many, can be written now."""
        return self._own is None or self._wait(0.0)

    def write(self, text: str, patience: float) -> None:
        """Write `text`. Raises TimeoutError if nothing is taken for `patience` seconds, OSError for other trouble."""
        if self._own is None:
            self._stream.write(text)
            self._stream.flush()
            return
        rest = memoryview(text.encode(errors="backslashreplace"))
        while rest:
            try:
                rest = rest[self._write_some(self._own, rest) :]
            except BlockingIOError:
                if not self._wait(patience):
                    raise TimeoutError(errno.ETIMEDOUT, f"not read for {patience:g} seconds") from None

    def close(self) -> None:
        """Close what was opened for the stream, which stays open."""
        if isinstance(self._own, socket.socket):
            self._own.close()
        elif self._own is not None:
            os.close(self._own)
        self._own = None

    def _write_some(self, own: int | socket.socket, data: memoryview) -> int:
        return own.send(data, socket.MSG_DONTWAIT) if isinstance(own, socket.socket) else os.write(own, data)

    def _wait(self, seconds: float) -> bool:
        poll = select.poll()
        assert self._own is not None
        poll.register(self._own, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))


def _opened(stream: TextIO) -> int | socket.socket | None:
    try:
        fd = stream.fileno()
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            return socket.socket(fileno=os.dup(fd))
        if stat.S_ISFIFO(mode):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError, AttributeError):
        pass  # it has no descriptor, or is somebody else's pipe
    return None
