"""The messages between the supervisor and a child process, over a socket pair of their own.

What a child says is not believed as such: it may be in the hands of somebody else. It has
messages of its own (`ChildMessage`), which a supervisor reads with `receive_from_child`.

One message a packet. The end of the socket is the end of the other side: a
child without its supervisor stops, so that no child outlives the node.
`Ping`, `Reload` and `Confirm` are passed on to the actors as they are. With
`LinkEnd` goes a descriptor.
"""

import socket
from typing import Annotated

import msgspec

from actors.base.messages import Confirm, Ping, Reload
from actors.settings import Settings
from actors.supervision.confinement import Confinement

__all__ = [
    "Begin",
    "ChildMessage",
    "ControlMessage",
    "Finished",
    "Flushed",
    "LinkEnd",
    "LinkLost",
    "Pong",
    "Stop",
    "receive",
    "receive_end",
    "receive_from_child",
    "send",
]

_LONGEST = 1 << 17  # bytes of a packet


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Be the child called `name`, confined like this."""

    name: str
    settings: Settings
    confinement: Confinement = Confinement()


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Stop the actors, then exit."""


class Pong(msgspec.Struct, frozen=True, tag=True):
    """Every actor has replied to a ping."""


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The node is to end, with this exit status."""

    status: Annotated[int, msgspec.Meta(ge=0, le=255)]


class Flushed(msgspec.Struct, frozen=True, tag=True):
    """The table was emptied as `--flush` asks; the child that replaces this one is not to do it again."""


class LinkEnd(msgspec.Struct, frozen=True, tag=True):
    """The descriptor with this message is connection `number` of the link called `link`, to the process `peer`."""

    link: str
    peer: str
    number: int


class LinkLost(msgspec.Struct, frozen=True, tag=True):
    """The subscriber of the link called `link` has lost connection `number`, and needs another one."""

    link: str
    number: int


ChildMessage = Pong | Finished | Flushed | LinkLost
ControlMessage = Begin | Confirm | LinkEnd | LinkLost | Ping | Reload | Stop | Pong | Finished | Flushed
_decoder = msgspec.json.Decoder(ControlMessage)
_child_decoder = msgspec.json.Decoder(ChildMessage)


def send(control: socket.socket, message: ControlMessage, end: socket.socket | None = None) -> None:
    """Send a message, and the end of a link with it. Raises OSError if the other side is gone."""
    packet = msgspec.json.encode(message)
    if end is None:
        control.send(packet)
    else:
        socket.send_fds(control, [packet], [end.fileno()])


def receive(control: socket.socket) -> ControlMessage | None:
    """Return the next message, None at the end. Raises OSError."""
    message, end = receive_end(control)
    if end is not None:
        end.close()
    return message


def receive_end(control: socket.socket) -> tuple[ControlMessage | None, socket.socket | None]:
    """Return the next message, None at the end, and the end of a link that came with it. Raises OSError."""
    try:
        packet, descriptors, *_ = _receive(control)
    except ConnectionResetError:
        # the other side has ended with messages unread; Linux reports that once, before what it had sent
        packet, descriptors, *_ = _receive(control)
    ends = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    return _decoder.decode(packet) if packet else None, ends[0] if ends else None


def receive_from_child(control: socket.socket) -> ChildMessage | None:
    """Return the next message of a child, None at the end; the kernel closes descriptors that come with it.

    Raises OSError, or msgspec.DecodeError if it is none that a child may send.
    """
    try:
        packet = control.recv(_LONGEST)
    except ConnectionResetError:
        packet = control.recv(_LONGEST)  # as in `receive_end`
    try:
        return _child_decoder.decode(packet) if packet else None
    except (ValueError, RecursionError) as error:  # of text that is not UTF-8, or of deep nesting
        raise msgspec.DecodeError(type(error).__name__) from None


def _receive(control: socket.socket) -> tuple[bytes, list[int], int, object]:
    # without the flag a child of a child would inherit the descriptor
    return socket.recv_fds(control, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
