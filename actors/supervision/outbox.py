"""The supervisor's messages to one child: never waited for, and of each kind only the newest is kept."""

import socket

from actors.supervision import control

__all__ = ["Outbox"]


class Outbox:
    """Sends messages over the control socket `channel`, which is made non-blocking.

    A child that does not read, as it is stopped, gets what it can take, and
    later the newest message of each kind: the supervisor never waits for it.
    Ends of links are closed once they are sent, or replaced.
    """

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._waiting: dict[object, tuple[control.ControlMessage, socket.socket | None]] = {}

    def put(self, message: control.ControlMessage, end: socket.socket | None = None) -> None:
        """Have a message sent by `flush`, in place of one of its kind, or for that link, that is waiting."""
        kind = (message.link, message.peer) if isinstance(message, control.LinkEnd) else type(message)
        self._forget(kind)
        self._waiting[kind] = message, end

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it. Raises OSError if the child is gone."""
        while self._waiting:
            kind = next(iter(self._waiting))
            try:
                control.send(self._channel, *self._waiting[kind])
            except BlockingIOError:
                return
            self._forget(kind)

    def close(self) -> None:
        """Forget what waits; the socket stays open."""
        for kind in list(self._waiting):
            self._forget(kind)

    def _forget(self, kind: object) -> None:
        _, end = self._waiting.pop(kind, (None, None))
        if end is not None:
            end.close()
