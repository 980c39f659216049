"""The receiving end of a link.

It keeps what it was told when the link breaks, connects again for ever, and at
`Synced` drops what it was not told again.

A receiver holds at most `CREDIT` frames: each takes one credit, which comes
back with `acknowledge`. So what waits in the inboxes behind a link is bounded,
and the rest is conflated where it is published. Credits outlive a connection.
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

from actors.link.messages import Received, StateKey, StateMessage, Synced, WireMessage, deletion_of, is_deletion
from actors.link.sockets import short_address, shut_down
from clusterf.lib.backoff import Backoff
from clusterf.lib.msgpack import dec_hook

__all__ = ["Subscription"]

log = logging.getLogger(__name__)

_STEADY = 10.0  # seconds after which a link that breaks may be connected again without delay
_REPORTED = 8  # tries to connect in a row, after which it is worth a word
CREDIT = 4  # frames that a receiver may hold before it has acknowledged the first
_LONGEST = 1 << 28  # bytes of a frame; longer is no frame of ours


_decoder = msgspec.msgpack.Decoder(list[WireMessage], dec_hook=dec_hook)


class Subscription:
    """The receiving end: tells an actor what comes, in a thread of its own."""

    def __init__(self, path: Path, tell: Callable[[Received], None]) -> None:
        self.name = path.stem
        self._path = path
        self._tell = tell
        self._known: set[StateKey] = set()
        self._stopping = threading.Event()
        self._credit = threading.Semaphore(CREDIT)
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name=f"subscription {path.name}", daemon=True)

    def start(self) -> None:
        """Begin to connect, and connect again for ever."""
        self._thread.start()

    def stop(self) -> None:
        """Hang up, and do not connect again."""
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
                self._receive_until_broken()
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
            log.info("link %s: broken (%s), connecting again; what is known stays", self._path.name, error)
        elif tries == _REPORTED:
            log.warning("link %s: no connection yet (%s), trying on", self._path.name, error)

    def _receive_until_broken(self) -> None:
        """Connect and receive. Raises OSError, EOFError or DecodeError in the end."""
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
        told: set[StateKey] | None = set()
        for messages in _frames(connection):
            out: list[WireMessage] = []
            for message in messages:
                if isinstance(message, Synced):
                    out += map(deletion_of, self._known - told if told is not None else ())
                    self._known = told if told is not None else self._known
                    told = None
                    out.append(message)
                    continue
                out.append(message)
                self._note(message, told)
            self._credit.acquire()
            if self._stopping.is_set():
                return
            self._tell(Received(tuple(out), self.name))

    def _note(self, message: StateMessage, told: set[StateKey] | None) -> None:
        if is_deletion(message):
            self._known.discard(message.key)
            if told is not None:
                told.discard(message.key)
        else:
            self._known.add(message.key)
            if told is not None:
                told.add(message.key)


def _frames(connection: socket.socket) -> Iterator[list[WireMessage]]:
    """Yield the messages of each frame. Raises EOFError at the end, OSError or DecodeError for what is no frame."""
    with connection.makefile("rb") as stream:
        while True:
            header = stream.read(4)
            if len(header) < 4:
                raise EOFError("the sender is gone")
            (length,) = struct.unpack(">I", header)
            if length > _LONGEST:
                raise OSError(f"a frame of {length} bytes")
            body = stream.read(length)
            if len(body) < length:
                raise EOFError("the sender is gone")
            yield _decoder.decode(body)
