"""The subscribing end of a link.

When the connection is lost, it keeps the current state, and asks for another one
until one comes. What is known of the publisher's state is kept in `actors.link.received`; here are the
socket and the thread.

An actor holds at most `CREDIT` frames: each takes one credit, which comes
back with `acknowledge`. So what waits in the inboxes behind a link is bounded,
and the rest is conflated by the publisher. Credits outlive a connection.

A publisher may be in the hands of somebody else. A frame that is none, or has messages that
its link does not carry, breaks the connection, and nothing else.
"""

import contextlib
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pykka

from actors.link.links import Links
from actors.link.messages import Received, WireMessage
from actors.link.published import FRAME
from actors.link.received import CREDIT, ReceivedKeys
from actors.link.sockets import shut_down
from clusterf.lib.backoff import Backoff
from clusterf.lib.msgpack import dec_hook

__all__ = ["Subscription"]

log = logging.getLogger(__name__)

_STEADY = 10.0  # seconds; a connection that lasted so long is replaced without delay
_LOGGED = 10  # attempts without such a connection after which a loss is not for everybody to read
_LONGEST = 1 << 28  # bytes of a frame; more are not from a publisher
_MOST = 2 * FRAME  # messages of a frame; with those that come with a frame's own


_Decode = Callable[[bytes], list[WireMessage]]


class Subscription:
    """Passes what comes over the link called `name` to `tell`, in a thread of its own; calls `lost` when it breaks.

    The link carries messages of the types in `carries`, a union, in frames of at most `longest` bytes.
    """

    def __init__(
        self,
        name: str,
        links: Links,
        tell: Callable[[Received], None],
        *,
        carries: Any = WireMessage,
        longest: int | None = None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._decode: _Decode = msgspec.msgpack.Decoder(list[carries], dec_hook=dec_hook).decode
        self._longest = longest or _LONGEST
        self._links = links
        self._tell = tell
        self._lost = lost
        self._keys = ReceivedKeys()
        self._changed = threading.Condition()
        self._stopping = False
        self._credit = threading.Semaphore(CREDIT)
        # the connection, and the newest one, with its number, that is to replace it
        self._connection: socket.socket | None = None
        self._next: tuple[socket.socket | None, int] | None = None
        self._thread = threading.Thread(target=self._run, name=f"subscription {name}", daemon=True)

    def start(self) -> None:
        """Connect, and reconnect for ever."""
        self._thread.start()
        self._links.subscribe(self.name, self._connect)

    def stop(self) -> None:
        """Disconnect, and do not reconnect."""
        self._links.detach(self.name, self._connect)
        with self._changed:
            self._stopping = True
            self._drop()
            self._changed.notify_all()
        self._credit.release()

    def acknowledge(self) -> None:
        """Give the credit of one frame back; may be called by any thread."""
        self._credit.release()

    def _connect(self, connection: socket.socket | None, number: int) -> None:
        """Go on with a new connection."""
        with self._changed:
            self._drop()
            if self._stopping:
                if connection is not None:
                    connection.close()
                return
            self._next = connection, number
            self._changed.notify_all()

    def _drop(self) -> None:
        """Close the connections, of which the newest one may not be in use yet."""
        if self._next is not None and self._next[0] is not None:
            self._next[0].close()
        self._next = None
        if self._connection is not None:
            shut_down(self._connection)

    def _run(self) -> None:
        backoff = Backoff(initial=0.02, longest=2)
        number = None
        while (number := self._wait_for_connection(number, backoff)) is not None:
            started = time.monotonic()
            try:
                self._receive()
            except pykka.ActorDeadError:
                return
            except (OSError, EOFError, msgspec.DecodeError) as error:
                if time.monotonic() - started > _STEADY:
                    backoff.reset()
                if not self._stopping:
                    level = logging.INFO if backoff.tries < _LOGGED else logging.DEBUG
                    what = "link %s: disconnected (%s), reconnecting; keeping the current state"
                    log.log(level, what, self.name, error)
                    with contextlib.suppress(pykka.ActorDeadError):
                        self._lost()

    def _wait_for_connection(self, lost: int | None, backoff: Backoff) -> int | None:
        """Wait for the next connection, and ask for it in place of `lost`; return its number, None at the end."""
        while True:
            with self._changed:
                self._connection = None
                delay = backoff.next() if lost is not None else None
                if self._changed.wait_for(lambda: self._stopping or self._next is not None, delay):
                    if self._stopping or self._next is None:
                        return None
                    (self._connection, number), self._next = self._next, None
                    return number
            assert lost is not None
            self._links.lost(self.name, lost)

    def _receive(self) -> None:
        """Receive until the connection is lost. Raises OSError, EOFError or DecodeError."""
        connection = self._connection
        if connection is None:
            raise OSError("the connection did not arrive")
        self._keys.connected()
        with connection:
            for frame in _frames(connection, self._longest, self._decode):
                messages = self._keys.receive(frame)
                self._credit.acquire()
                if self._stopping:
                    return
                self._tell(Received(messages, self.name))


def _frames(connection: socket.socket, longest: int, decode: _Decode) -> Iterator[list[WireMessage]]:
    """Yield the messages of each frame. Raises EOFError at the end, OSError or DecodeError if a frame is invalid."""
    with connection.makefile("rb") as stream:
        while True:
            header = stream.read(4)
            if len(header) < 4:
                raise EOFError("the publisher closed the connection")
            (length,) = struct.unpack(">I", header)
            if length > longest:
                raise OSError(f"invalid frame of {length} bytes")
            body = stream.read(length)
            if len(body) < length:
                raise EOFError("the publisher closed the connection")
            # more than a publisher sends at a time, of messages that take a byte or two, would fill the memory
            if _count(body) > _MOST:
                raise OSError("invalid frame: too many messages")
            try:
                messages = decode(body)
            except (ValueError, RecursionError) as error:  # of text that is not UTF-8, or of deep nesting
                raise OSError(f"invalid frame: {type(error).__name__}") from None
            yield messages


def _count(body: bytes) -> int:
    """Return how many messages a frame says that it has, by the beginning of an array in MessagePack."""
    size = {b"\xdc": 2, b"\xdd": 4}.get(body[:1])
    return int.from_bytes(body[1 : 1 + size]) if size is not None else 0  # (or at most 15, or what is no array)
