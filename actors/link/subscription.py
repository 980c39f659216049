"""The subscribing end of a link.

When the link is lost, it keeps the current state, and reconnects for ever. What
is known of the publisher's state is kept in `actors.link.received`; here are the
socket and the thread.

An actor holds at most `CREDIT` frames: each takes one credit, which comes
back with `acknowledge`. So what waits in the inboxes behind a link is bounded,
and the rest is conflated by the publisher. Credits outlive a connection.
"""

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pykka

from actors.link.messages import Received, WireMessage
from actors.link.received import CREDIT, ReceivedKeys
from actors.link.sockets import short_address, shut_down
from clusterf.lib.backoff import Backoff
from clusterf.lib.msgpack import dec_hook

__all__ = ["Subscription"]

log = logging.getLogger(__name__)

_STEADY = 10.0  # seconds; a link that lasted so long is reconnected without delay
_REPORTED = 8  # failed tries to connect in a row, after which a warning is logged
_LONGEST = 1 << 28  # bytes of a frame; more are not from a publisher


_decoder = msgspec.msgpack.Decoder(list[WireMessage], dec_hook=dec_hook)


class Subscription:
    """Passes what comes over the link at `path` to `tell`, in a thread of its own."""

    def __init__(self, path: Path, tell: Callable[[Received], None]) -> None:
        self.name = path.stem
        self._path = path
        self._tell = tell
        self._keys = ReceivedKeys()
        self._stopping = threading.Event()
        self._credit = threading.Semaphore(CREDIT)
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name=f"subscription {path.name}", daemon=True)

    def start(self) -> None:
        """Connect, and reconnect for ever."""
        self._thread.start()

    def stop(self) -> None:
        """Disconnect, and do not reconnect."""
        self._stopping.set()
        self._credit.release()
        if self._connection is not None:
            shut_down(self._connection)

    def acknowledge(self) -> None:
        """Give the credit of one frame back; may be called by any thread."""
        self._credit.release()

    def _run(self) -> None:
        backoff = Backoff(initial=0.02, longest=2)
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                self._receive_until_lost()
            except pykka.ActorDeadError:
                return
            except (OSError, EOFError, msgspec.DecodeError) as error:
                if time.monotonic() - started > _STEADY:
                    backoff.reset()
                self._report(error, backoff.tries)
            self._stopping.wait(backoff.next())

    def _report(self, error: Exception, tries: int) -> None:
        if self._stopping.is_set():
            return
        if self._connection is not None:
            log.info("link %s: disconnected (%s), reconnecting; keeping the current state", self.name, error)
        elif tries == _REPORTED:
            log.warning("link %s: not connected yet (%s), retrying", self.name, error)

    def _receive_until_lost(self) -> None:
        """Connect and receive until the link is lost. Raises OSError, EOFError or DecodeError."""
        self._connection = None
        with self._connect() as connection:
            self._connection = connection
            if not self._stopping.is_set():
                self._receive(connection)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_address(self._path) as address:
                connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    def _receive(self, connection: socket.socket) -> None:
        self._keys.connected()
        for frame in _frames(connection):
            messages = self._keys.receive(frame)
            self._credit.acquire()
            if self._stopping.is_set():
                return
            self._tell(Received(messages, self.name))


def _frames(connection: socket.socket) -> Iterator[list[WireMessage]]:
    """Yield the messages of each frame. Raises EOFError at the end, OSError or DecodeError if a frame is invalid."""
    with connection.makefile("rb") as stream:
        while True:
            header = stream.read(4)
            if len(header) < 4:
                raise EOFError("the publisher closed the connection")
            (length,) = struct.unpack(">I", header)
            if length > _LONGEST:
                raise OSError(f"invalid frame of {length} bytes")
            body = stream.read(length)
            if len(body) < length:
                raise EOFError("the publisher closed the connection")
            yield _decoder.decode(body)
