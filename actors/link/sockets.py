"""Shutting sockets down, which wakes the threads that wait on them."""

import socket
from contextlib import suppress

__all__ = ["shut_down"]


def shut_down(connection: socket.socket) -> None:
    """Shut the socket down, which wakes the threads that wait on it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
