"""The publishing end of a link: list-and-watch over the socket pairs of `actors.link.links`.

To each new subscriber it sends its whole state and then `Synced`; from then on
it sends changes. What to send next is decided by `actors.link.published`; here
are the sockets and threads.

A frame is a length of four bytes, big-endian, and a MessagePack array of
messages. For the other end see `actors.link.subscription`. Either end may crash
and return at any time.
"""

import logging
import socket
import struct
import threading
from collections.abc import Iterable, Iterator

import msgspec

from actors.link.links import Links
from actors.link.messages import StateMessage, WireMessage
from actors.link.published import Published, View
from actors.link.sockets import shut_down
from clusterf.lib.msgpack import enc_hook

__all__ = ["Publisher"]

log = logging.getLogger(__name__)

_FULL = 1 << 24  # bytes; a frame of that size takes no more messages

_encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)


class Publisher:
    """Keeps a state equal at all subscribers of the link called `name`. May be used by several threads."""

    def __init__(self, name: str, links: Links) -> None:
        self._name = name
        self._links = links
        self._published = Published()
        self._changed = threading.Condition()
        self._subscribers: set[_Subscriber] = set()
        self._stopped = False

    def start(self) -> None:
        """Accept subscribers, in place of an earlier publisher of the link."""
        self._links.publish(self._name, self._connect)

    def stop(self) -> None:
        """Close all connections."""
        self._links.detach(self._name, self._connect)
        with self._changed:
            self._stopped = True
            for subscriber in self._subscribers:
                shut_down(subscriber.connection)
            self._changed.notify_all()

    def publish(self, messages: Iterable[StateMessage], *, synced: bool) -> None:
        """Update the state; with `synced`, once, the state is complete from now on."""
        with self._changed:
            self._published.put(messages, synced=synced)
            self._changed.notify_all()

    def pulse(self, known: float) -> None:
        """Have subscribers that know the whole state see that this process runs; for `known` see `Pulse`."""
        with self._changed:
            self._published.pulse(known)
            self._changed.notify_all()

    def __len__(self) -> int:
        """Return the number of keys of the state."""
        return len(self._published)

    def _connect(self, connection: socket.socket | None, number: int) -> None:
        """Serve a new subscriber, in a thread of its own. What got lost on the way is missed by its subscriber."""
        del number
        if connection is None:
            return
        with self._changed:
            if self._stopped:
                connection.close()
                return
            subscriber = _Subscriber(connection, self._published.add_view())
            self._subscribers.add(subscriber)
            self._changed.notify_all()  # wakes the threads of subscribers that have disconnected
        threading.Thread(target=self._serve, args=(subscriber,), name=f"link {self._name}", daemon=True).start()

    def _serve(self, subscriber: "_Subscriber") -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: subscriber.view.waiting or subscriber.disconnected())
                    if subscriber.disconnected():
                        return
                    messages = subscriber.view.frame()
                for frame in _frames(messages):
                    subscriber.connection.sendall(frame)
        except OSError as error:
            log.debug("link %s: subscriber disconnected: %s", self._name, error)
        finally:
            with self._changed:
                self._subscribers.discard(subscriber)
                self._published.remove_view(subscriber.view)
            subscriber.connection.close()


class _Subscriber:
    """A connected subscriber, and what is to be sent to it."""

    def __init__(self, connection: socket.socket, view: View) -> None:
        self.connection = connection
        self.view = view

    def disconnected(self) -> bool:
        """Tell whether the subscriber has disconnected; it never sends anything."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True


def _frames(messages: Iterable[WireMessage]) -> Iterator[bytes]:
    """Yield the messages as frames: one, or more if they are large."""
    encoded: list[bytes] = []
    size = 0
    for message in messages:
        encoded.append(_encoder.encode(message))
        size += len(encoded[-1])
        if size >= _FULL:
            yield _frame(encoded)
            encoded, size = [], 0
    if encoded:
        yield _frame(encoded)


def _frame(encoded: list[bytes]) -> bytes:
    body = b"".join([struct.pack(">BI", 0xDD, len(encoded)), *encoded])
    return struct.pack(">I", len(body)) + body
