"""Links between processes: list-and-watch over a Unix socket.

The sending end (`Publisher`) holds the newest message of every key. To each
one that connects it sends all of them and then says `Synced`; from then on it
sends what changes. What waits to be sent is a set of keys, so that a slow
receiver gets only the newest of each, and memory is bounded by the state and
not by the rate of change.

The receiving end (`Subscription`) keeps what it was told when the link breaks,
connects again for ever, and at `Synced` takes as gone what it was not told
again. Thus either end may crash and return at any time.

A frame is a length of four bytes, big-endian, and a MessagePack array of
messages.
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
_FULL = 1 << 24  # bytes, from which on a frame takes no more messages

_encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)


class Publisher:
    """The sending end: a state, kept equal at all who are connected. Safe to be used by several threads."""

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
        """Listen, in place of whoever listened there before. Raises OSError."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short_address(self._path) as address:
            with suppress(FileNotFoundError):
                os.unlink(address)  # noqa: PTH108
            self._listener.bind(address)
        self._listener.listen()
        threading.Thread(target=self._accept, name=f"accept {self._path.name}", daemon=True).start()

    def stop(self) -> None:
        """Hang up on all."""
        self._stopping.set()
        if self._listener is not None:
            shut_down(self._listener)  # to close it would not wake who waits in `accept`
        with self._changed:
            for subscriber in self._subscribers:
                shut_down(subscriber.connection)
            self._changed.notify_all()

    def publish(self, messages: Iterable[StateMessage], *, synced: bool) -> None:
        """Take the messages for what is so now; `synced` from the first time on means that the state is whole."""
        with self._changed:
            for message in messages:
                if self._put(message):
                    for subscriber in self._subscribers:
                        subscriber.pending[message.key] = None
            self._synced = self._synced or synced
            self._changed.notify_all()

    def __len__(self) -> int:
        """Return how many keys the state has."""
        return len(self._state)

    def _put(self, message: StateMessage) -> bool:
        """Keep the message, or its absence; return whether it says anything new."""
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
                        log.error("link %s: cannot accept: %s", self._path.name, error)
                    continue
                self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        with self._changed:
            subscriber = _Subscriber(connection, self._state)
            self._subscribers.add(subscriber)
            self._changed.notify_all()  # so that those are noticed that have hung up
        threading.Thread(target=self._serve, args=(subscriber,), name=f"link {self._path.name}", daemon=True).start()

    def _serve(self, subscriber: "_Subscriber") -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: subscriber.waiting(synced=self._synced) or subscriber.hung_up())
                    if subscriber.hung_up():
                        return
                    frame = subscriber.frame(self._state, self._revision, synced=self._synced)
                subscriber.connection.sendall(frame)
        except OSError as error:
            log.debug("link %s: the receiver is gone: %s", self._path.name, error)
        finally:
            with self._changed:
                self._subscribers.discard(subscriber)
            subscriber.connection.close()


class _Subscriber:
    """One who is connected: what has been sent to it, and what is to be."""

    def __init__(self, connection: socket.socket, keys: Iterable[StateKey]) -> None:
        self.connection = connection
        self.pending: OrderedDict[StateKey, None] = OrderedDict.fromkeys(keys)
        self._told: set[StateKey] = set()
        self._synced = False

    def waiting(self, *, synced: bool) -> bool:
        """Tell whether there is something to send."""
        return bool(self.pending) or (synced and not self._synced)

    def hung_up(self) -> bool:
        """Tell whether there is nobody to send to any more: receivers say nothing, but this."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def frame(self, state: dict[StateKey, bytes], revision: int, *, synced: bool) -> bytes:
        """Return the next frame, taking its keys off what is pending."""
        messages: list[bytes] = []
        size = 0
        while self.pending and len(messages) < _BATCH and size < _FULL:
            key, _ = self.pending.popitem(last=False)
            size += len(state.get(key, b""))
            if key in state:
                self._told.add(key)
                messages.append(state[key])
            elif key in self._told:
                self._told.discard(key)
                messages.append(_encoder.encode(deletion_of(key)))
        if synced and not self._synced and not self.pending:
            self._synced = True
            messages.append(_encoder.encode(Synced(revision)))
        body = b"".join([struct.pack(">BI", 0xDD, len(messages)), *messages])
        return struct.pack(">I", len(body)) + body
