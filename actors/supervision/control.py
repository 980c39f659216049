"""The messages between the supervisor and a child process, over a socket pair of their own.

One message a packet. The end of the socket is the end of the other side: a
child without its supervisor stops, so that no child outlives the node.
`Ping`, `Reload` and `Confirm` are passed on to the actors as they are.
"""

import socket

import msgspec

from actors.base.messages import Confirm, Ping, Reload
from actors.settings import Settings

__all__ = ["Begin", "ControlMessage", "Finished", "Flushed", "Pong", "Stop", "receive", "send"]

_LONGEST = 1 << 17  # bytes of a packet


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Be the child called `name`."""

    name: str
    settings: Settings


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Stop the actors, then exit."""


class Pong(msgspec.Struct, frozen=True, tag=True):
    """Every actor has replied to a ping."""


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The node is to end, with this exit status."""

    status: int


class Flushed(msgspec.Struct, frozen=True, tag=True):
    """The table was emptied as `--flush` asks; the child that replaces this one is not to do it again."""


ControlMessage = Begin | Confirm | Ping | Reload | Stop | Pong | Finished | Flushed
_decoder = msgspec.json.Decoder(ControlMessage)


def send(control: socket.socket, message: ControlMessage) -> None:
    """Send a message. Raises OSError if the other side is gone."""
    control.send(msgspec.json.encode(message))


def receive(control: socket.socket) -> ControlMessage | None:
    """Return the next message, None at the end. Raises OSError."""
    try:
        packet = control.recv(_LONGEST)
    except ConnectionResetError:
        # the other side has ended with messages unread; Linux reports that once, before what it had sent
        packet = control.recv(_LONGEST)
    return _decoder.decode(packet) if packet else None
