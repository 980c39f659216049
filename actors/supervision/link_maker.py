"""The connections of a node's links: made where both ends run, and again when one was restarted or has lost them.

A link that is down for longer than `--stuck-timeout`, though both of its
processes run, is a failure of theirs: both are killed, to be started again. If one of
them is a health process, which talks to anybody, only that one is: it must not be able to
have others killed.
"""

import logging
import socket
from collections.abc import Mapping, Sequence

from actors.node import Link
from actors.settings import HEALTH
from actors.supervision import control
from actors.supervision.child_process import ChildProcess

__all__ = ["LinkMaker"]

log = logging.getLogger(__name__)


class LinkMaker:
    """Keeps `links` connected between `children`, by their names. Times are those of the supervisor's clock."""

    def __init__(self, links: Sequence[Link], children: Mapping[str, ChildProcess], patience: float) -> None:
        self._connections = [
            _Connection(link, children[link.publisher], children[link.subscriber], patience) for link in links
        ]

    def started(self, child: ChildProcess) -> None:
        """Note that a process was started, which has no connection yet."""
        for connection in self._connections:
            if child in connection.ends:
                connection.renew()

    def lost(self, subscriber: ChildProcess, loss: control.LinkLost, now: float) -> None:
        """Note that a subscriber has lost a connection; one that was replaced meanwhile does not count."""
        for connection in self._connections:
            if connection.ends[1] is subscriber and connection.link.name == loss.link:
                connection.lost(loss.number, now)

    def tend(self, now: float) -> None:
        """Make the connections that are missing; act on those that have been for too long."""
        for connection in self._connections:
            connection.tend(now)


class _Connection:
    """The connection of one link, from the first to the last."""

    def __init__(self, link: Link, publisher: ChildProcess, subscriber: ChildProcess, patience: float) -> None:
        self.link = link
        self.ends = publisher, subscriber
        self._patience = patience
        # how many there were, and when the last one was made
        self._number = 0
        self._made = 0.0
        # whether another one is to be made; since when, while both ends run, none has lasted
        self._missing = True
        self._since: float | None = None
        self._reported = False

    def renew(self) -> None:
        """Have a connection made for an end that was restarted."""
        self._missing, self._since = True, None

    def lost(self, number: int, now: float) -> None:
        """Have another connection made in place of that one."""
        if self._missing or number != self._number or not self._both_listen():
            return
        self._missing = True
        if self._since is None or now - self._made > self._patience:
            self._since = now

    def tend(self, now: float) -> None:
        """Make the connection if it is missing; kill both ends if none has lasted for too long."""
        if not self._missing or not self._both_listen():
            return
        if self._since is None:
            self._since = now
        if (down := now - self._since) > self._patience:
            failed = [end for end in self.ends if end.name.startswith(HEALTH)] or self.ends
            names = " and ".join(map(str, failed))
            level = max(end.level for end in failed)
            log.log(level, "link %s: down for %.0f seconds, killing %s", self.link.name, down, names)
            self._since = now
            for end in failed:
                end.kill()
        else:
            self._make(now)

    def _both_listen(self) -> bool:
        return all(end.listens for end in self.ends)

    def _make(self, now: float) -> None:
        try:
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            if not self._reported:
                log.error("link %s: cannot be made: %s, retrying", self.link.name, error)
            self._reported = True
            return
        self._number += 1
        self._made, self._missing, self._reported = now, False, False
        for end, peer, connection in zip(self.ends, reversed(self.ends), pair, strict=True):
            end.send(control.LinkEnd(self.link.name, peer.name, self._number), connection)
