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
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pykka

from actors.messages import Received, StateMessage, Synced, WireMessage, absence
from clusterf.backoff import Backoff
from clusterf.wire import dec_hook, enc_hook

__all__ = ["Publisher", "Subscription"]

log = logging.getLogger(__name__)

_BATCH = 1000  # messages in a frame, at most
_FULL = 1 << 24  # bytes, from which on a frame takes no more messages
_LONGEST = 1 << 28  # bytes of a frame; longer is no frame of ours
_UNTAKEN = 4  # frames that a receiver may have before it has taken the first
_STEADY = 10.0  # seconds after which a link that breaks may be connected again without delay
_REPORTED = 8  # tries to connect in a row, after which it is worth a word

_encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)
_decoder = msgspec.msgpack.Decoder(list[WireMessage], dec_hook=dec_hook)


class Publisher:
    """The sending end: a state, kept equal at all who are connected. Safe to be used by several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: dict[Hashable, bytes] = {}
        self._revision = 0
        self._synced = False
        self._changed = threading.Condition()
        self._subscribers: set[_Subscriber] = set()
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Listen, in place of whoever listened there before. Raises OSError."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short(self._path) as address:
            with suppress(FileNotFoundError):
                os.unlink(address)  # noqa: PTH108
            self._listener.bind(address)
        self._listener.listen()
        threading.Thread(target=self._accept, name=f"accept {self._path.name}", daemon=True).start()

    def stop(self) -> None:
        """Hang up on all."""
        self._stopping.set()
        if self._listener is not None:
            _shut_down(self._listener)  # to close it would not wake who waits in `accept`
        with self._changed:
            for subscriber in self._subscribers:
                _shut_down(subscriber.connection)
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
        if message == absence(key):
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

    def __init__(self, connection: socket.socket, keys: Iterable[Hashable]) -> None:
        self.connection = connection
        self.pending: OrderedDict[Hashable, None] = OrderedDict.fromkeys(keys)
        self._told: set[Hashable] = set()
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

    def frame(self, state: dict[Hashable, bytes], revision: int, *, synced: bool) -> bytes:
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
                messages.append(_encoder.encode(absence(key)))
        if synced and not self._synced and not self.pending:
            self._synced = True
            messages.append(_encoder.encode(Synced(revision)))
        body = b"".join([struct.pack(">BI", 0xDD, len(messages)), *messages])
        return struct.pack(">I", len(body)) + body


class Subscription:
    """The receiving end: tells an actor what comes, in a thread of its own."""

    def __init__(self, path: Path, tell: Callable[[Received], None]) -> None:
        self._path = path
        self._tell = tell
        self._known: set[Hashable] = set()
        self._stopping = threading.Event()
        self._untaken = threading.Semaphore(_UNTAKEN)
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name=f"subscription {path.name}", daemon=True)

    def start(self) -> None:
        """Begin to connect, and connect again for ever."""
        self._thread.start()

    def stop(self) -> None:
        """Hang up, and do not connect again."""
        self._stopping.set()
        self._untaken.release()
        if self._connection is not None:
            _shut_down(self._connection)

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
            with _short(self._path) as address:
                connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    def _receive(self, connection: socket.socket) -> None:
        told: set[Hashable] | None = set()
        for messages in _frames(connection):
            out: list[WireMessage] = []
            for message in messages:
                if isinstance(message, Synced):
                    out += map(absence, self._known - told if told is not None else ())
                    self._known = told if told is not None else self._known
                    told = None
                    out.append(message)
                    continue
                out.append(message)
                self._note(message, told)
            self._untaken.acquire()
            if self._stopping.is_set():
                return
            self._tell(Received(tuple(out), self._untaken.release))

    def _note(self, message: StateMessage, told: set[Hashable] | None) -> None:
        if message == absence(message.key):
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


def _shut_down(connection: socket.socket) -> None:
    """End the connection, or the listening, for all who use it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give an address for a socket at `path` that is short enough (sun_path has 108 bytes), however long that is."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
