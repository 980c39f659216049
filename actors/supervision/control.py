"""What the supervisor and a child say to each other, over a socket pair of their own.

One message a packet. The end of the socket is the end of the other side: a
child without its supervisor stops, so that none is ever left alone.
"""

import socket

import msgspec

from actors.settings import Settings

__all__ = ["Begin", "Confirm", "Finished", "Flushed", "Ping", "Pong", "Reload", "Stop", "receive", "send"]

_LONGEST = 1 << 17  # bytes of a packet


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Be the child called `name`."""

    name: str
    settings: Settings


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Have every actor answer."""

    number: int


class Reload(msgspec.Struct, frozen=True, tag=True):
    """Read again what you read."""


class Confirm(msgspec.Struct, frozen=True, tag=True):
    """Do what is held for the operator to confirm."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Stop in order."""


class Pong(msgspec.Struct, frozen=True, tag=True):
    """Every actor has answered that ping."""

    number: int


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The node is to end, with this exit status."""

    status: int


class Flushed(msgspec.Struct, frozen=True, tag=True):
    """The table was emptied as `--flush` asks; your next child is not to do it again."""


_Message = Begin | Confirm | Ping | Reload | Stop | Pong | Finished | Flushed
_decoder = msgspec.json.Decoder(_Message)


def send(control: socket.socket, message: _Message) -> None:
    """Send a message. Raises OSError where the other side is gone."""
    control.send(msgspec.json.encode(message))


def receive(control: socket.socket) -> _Message | None:
    """Return the next message, None at the end. Raises OSError."""
    try:
        packet = control.recv(_LONGEST)
    except ConnectionResetError:
        # the other side has ended without reading all; Linux says so once, before what it has sent
        packet = control.recv(_LONGEST)
    return _decoder.decode(packet) if packet else None
