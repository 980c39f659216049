"""Unix sockets: paths of any length, and shutting down."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["short_address", "shut_down"]


def shut_down(connection: socket.socket) -> None:
    """Shut the socket down, which wakes the threads that wait on it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Yield an address for a socket at `path` that fits in `sun_path` (108 bytes), however long the path is."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
