"""The links of a process: its supervisor makes the connections, and hands it one end of each.

A link has no path: where both of its processes run, the supervisor makes a
socket pair, and a new one when either was restarted, or when the subscriber
reports the loss of the last one.
"""

import logging
import socket
import threading
from collections.abc import Callable
from typing import TypeAlias

from actors.link.sockets import shut_down

__all__ = ["Connect", "Links"]

log = logging.getLogger(__name__)

# takes a connection and its number; None instead of one that got lost on the way
Connect: TypeAlias = Callable[[socket.socket | None, int], None]


class Links:
    """Passes each connection to the publisher or the subscription of its link, as soon as there is one.

    `lost` asks the supervisor to replace the connection of that number of a
    link; it may ask twice, or in vain while the publisher is away. May be used
    by several threads.
    """

    def __init__(self, lost: Callable[[str, int], None]) -> None:
        self.lost = lost
        self._lock = threading.Lock()
        self._ends: dict[str, Connect] = {}
        # the newest connection of each link to each process
        self._newest: dict[tuple[str, str | None], socket.socket] = {}
        # connections that came before their ends
        self._waiting: dict[str, list[tuple[socket.socket | None, int]]] = {}

    def publish(self, name: str, connect: Connect) -> None:
        """Have `connect` called with each connection of a subscriber of the link called `name`."""
        self._attach(name, connect)

    def subscribe(self, name: str, connect: Connect) -> None:
        """Have `connect` called with each connection to the publisher of the link called `name`."""
        self._attach(name, connect)

    def detach(self, name: str, connect: Connect) -> None:
        """Pass no more connections to `connect`."""
        with self._lock:
            if self._ends.get(name) == connect:
                del self._ends[name]

    def deliver(self, name: str, connection: socket.socket | None, number: int, peer: str | None = None) -> None:
        """Pass on a connection to the process `peer`; the one to it before, if any, is shut down.

        So a subscriber that asks for connection after connection, and closes none, has one.
        """
        if connection is None:
            log.error("link %s: a connection did not arrive, probably for lack of file descriptors", name)
        with self._lock:
            replaced = self._newest.pop((name, peer), None)
            if peer is not None and connection is not None:
                self._newest[name, peer] = connection
            if replaced is not None:
                shut_down(replaced)
            connect = self._ends.get(name)
            if connect is None:
                self._waiting.setdefault(name, []).append((connection, number))
                return
        connect(connection, number)

    def _attach(self, name: str, connect: Connect) -> None:
        with self._lock:
            self._ends[name] = connect
            waiting = self._waiting.pop(name, [])
        for connection, number in waiting:
            connect(connection, number)
