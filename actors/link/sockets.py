"""Unix sockets: addresses of any length, and hanging up."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["short_address", "shut_down"]


def shut_down(connection: socket.socket) -> None:
    """End the connection, or the listening, for all who use it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Give an address for a socket at `path` that is short enough (sun_path has 108 bytes), however long that is."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
