"""The publishing end of a link: list-and-watch over a Unix socket.

The publisher holds the newest message of every key. To each new subscriber it
sends all of them and then `Synced`; from then on it sends changes. What is
pending for a subscriber is a set of keys, so that a slow one gets only the
newest message of each, and memory is bounded by the state, not by the rate of
change.

A frame is a length of four bytes, big-endian, and a MessagePack array of
messages. For the other end see `actors.link.subscription`. Either end may crash
and return at any time.
"""

import logging
import os
import socket
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from actors.link.messages import StateKey, StateMessage, Synced, deletion_of, is_deletion
from actors.link.sockets import short_address, shut_down
from clusterf.lib.msgpack import enc_hook

__all__ = ["Publisher"]

log = logging.getLogger(__name__)

_BATCH = 1000  # messages in a frame, at most
_FULL = 1 << 24  # bytes; a frame of that size takes no more messages

_encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)


class Publisher:
    """Keeps a state equal at all subscribers. May be used by several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: dict[StateKey, bytes] = {}
        self._revision = 0
        self._synced = False
        self._changed = threading.Condition()
        self._subscribers: set[_Subscriber] = set()
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Listen, in place of an earlier publisher at the same path. Raises OSError."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short_address(self._path) as address:
            with suppress(FileNotFoundError):
                os.unlink(address)  # noqa: PTH108
            self._listener.bind(address)
        self._listener.listen()
        threading.Thread(target=self._accept, name=f"accept {self._path.name}", daemon=True).start()

    def stop(self) -> None:
        """Close all connections."""
        self._stopping.set()
        if self._listener is not None:
            shut_down(self._listener)  # closing it would not wake the thread in `accept`
        with self._changed:
            for subscriber in self._subscribers:
                shut_down(subscriber.connection)
            self._changed.notify_all()

    def publish(self, messages: Iterable[StateMessage], *, synced: bool) -> None:
        """Update the state; with `synced`, once, the state is complete from now on."""
        with self._changed:
            for message in messages:
                if self._put(message):
                    for subscriber in self._subscribers:
                        subscriber.pending[message.key] = None
            self._synced = self._synced or synced
            self._changed.notify_all()

    def __len__(self) -> int:
        """Return the number of keys of the state."""
        return len(self._state)

    def _put(self, message: StateMessage) -> bool:
        """Store the message, or delete its key; return whether that changes the state."""
        key = message.key
        old = self._state.get(key)
        if is_deletion(message):
            self._state.pop(key, None)
            new = None
        else:
            new = self._state[key] = _encoder.encode(message)
        self._revision += old != new
        return old != new

    def _accept(self) -> None:
        assert self._listener is not None
        with self._listener:
            while not self._stopping.is_set():
                try:
                    connection, _ = self._listener.accept()
                except OSError as error:
                    if not self._stopping.wait(1):
                        log.error("link %s: cannot accept connections: %s", self._path.stem, error)
                    continue
                self._add_subscriber(connection)

    def _add_subscriber(self, connection: socket.socket) -> None:
        with self._changed:
            subscriber = _Subscriber(connection, self._state)
            self._subscribers.add(subscriber)
            self._changed.notify_all()  # wakes the threads of subscribers that have disconnected
        threading.Thread(target=self._serve, args=(subscriber,), name=f"link {self._path.name}", daemon=True).start()

    def _serve(self, subscriber: "_Subscriber") -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: subscriber.waiting(synced=self._synced) or subscriber.disconnected())
                    if subscriber.disconnected():
                        return
                    frame = subscriber.frame(self._state, self._revision, synced=self._synced)
                subscriber.connection.sendall(frame)
        except OSError as error:
            log.debug("link %s: subscriber disconnected: %s", self._path.stem, error)
        finally:
            with self._changed:
                self._subscribers.discard(subscriber)
            subscriber.connection.close()


class _Subscriber:
    """A connected subscriber: the keys that it has, and those that are pending."""

    def __init__(self, connection: socket.socket, keys: Iterable[StateKey]) -> None:
        self.connection = connection
        self.pending: OrderedDict[StateKey, None] = OrderedDict.fromkeys(keys)
        self._sent: set[StateKey] = set()
        self._synced = False

    def waiting(self, *, synced: bool) -> bool:
        """Tell whether there is anything to send."""
        return bool(self.pending) or (synced and not self._synced)

    def disconnected(self) -> bool:
        """Tell whether the subscriber has disconnected; it never sends anything."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def frame(self, state: dict[StateKey, bytes], revision: int, *, synced: bool) -> bytes:
        """Return the next frame, and remove its keys from those pending."""
        messages: list[bytes] = []
        size = 0
        while self.pending and len(messages) < _BATCH and size < _FULL:
            key, _ = self.pending.popitem(last=False)
            size += len(state.get(key, b""))
            if key in state:
                self._sent.add(key)
                messages.append(state[key])
            elif key in self._sent:
                self._sent.discard(key)
                messages.append(_encoder.encode(deletion_of(key)))
        if synced and not self._synced and not self.pending:
            self._synced = True
            messages.append(_encoder.encode(Synced(revision)))
        body = b"".join([struct.pack(">BI", 0xDD, len(messages)), *messages])
        return struct.pack(">I", len(body)) + body
