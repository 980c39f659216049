"""The supervisor's messages to one child: never waited for, and of each kind only the newest is kept."""

import socket

from actors.supervision import control

__all__ = ["Outbox"]


class Outbox:
    """Sends messages over the control socket `channel`, which is made non-blocking.

    A child that does not read, as it is stopped, gets what it can take, and
    later the newest message of each kind: the supervisor never waits for it.
    """

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._waiting: dict[object, control.ControlMessage] = {}

    def put(self, message: control.ControlMessage) -> None:
        """Have a message sent by `flush`, in place of one of its kind that is waiting."""
        self._waiting[type(message)] = message

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it. Raises OSError if the child is gone."""
        while self._waiting:
            key = next(iter(self._waiting))
            try:
                control.send(self._channel, self._waiting[key])
            except BlockingIOError:
                return
            del self._waiting[key]
