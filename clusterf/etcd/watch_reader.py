"""Reading a watch in a thread of its own, so that a watch which goes silent is noticed."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, Queue

from clusterf.etcd.errors import EtcdError
from clusterf.etcd.watch import Event, Watch

__all__ = ["WatchReader"]

SILENCE = 5.0  # seconds without a message after which progress is requested, and that the reply may then take
GATHER = 1000  # messages that are handed on at once, at most
MOST_BYTES = 1 << 26  # of names and values that may wait, about
PAUSE = 0.25  # seconds to wait for a message


class WatchReader:
    """The events of `watch`, until it ends or goes silent. `close` it in the end."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._queue: Queue[list[Event] | EtcdError] = Queue(GATHER)
        self._closing = threading.Event()
        # the bytes in the queue
        self._waiting = 0
        self._taken = threading.Condition()
        self._last_message = self._heard = time.monotonic()
        # when progress was requested, until the reply arrives
        self._requested: float | None = None
        # whether this etcd replies at all; before 3.4 it does not
        self._replies = False
        # the error that ended the watch
        self._error: EtcdError | None = None
        self._thread = threading.Thread(target=self._read, name="etcd watch", daemon=True)
        self._thread.start()

    def events(self) -> Iterator[Event]:
        """Wait up to PAUSE for events, and yield those that have arrived."""
        try:
            batch = [self._queue.get(timeout=PAUSE)]
        except Empty:
            return
        while len(batch) < GATHER and not self._queue.empty():
            batch.append(self._queue.get())
        self._make_room(batch)
        self._last_message = self._heard = time.monotonic()
        for message in batch:
            if isinstance(message, EtcdError):
                self._error = message
                return
            self._note(progress=not message)
            yield from message

    def check(self) -> None:
        """Raise EtcdError if the watch has ended, after all its events, or is silent although this etcd replies."""
        if self._error is not None:
            raise self._error
        now = time.monotonic()
        if self._requested is None:
            if now - self._last_message >= SILENCE:
                self._request_progress()
        elif now - self._requested >= SILENCE:
            if self._replies:
                raise EtcdError("watch: timed out: no progress notification")
            self._requested, self._last_message = None, now

    @property
    def heard(self) -> float:
        """The last moment of which all events have arrived, on the monotonic clock."""
        return self._heard if self._replies else time.monotonic()

    def close(self) -> None:
        """End the watch and the thread."""
        self._closing.set()
        self._watch.cancel()
        self._make_room()
        while self._thread.is_alive():
            with suppress(Empty):
                while True:
                    self._queue.get_nowait()  # the thread may be waiting for room
            self._thread.join(0.05)

    def _request_progress(self) -> None:
        self._requested = time.monotonic()
        self._watch.request_progress()

    def _note(self, *, progress: bool) -> None:
        """Record that a message arrived; `progress`: without events, so it may be the reply."""
        if not progress:
            self._requested = None
        elif self._requested is not None:
            self._replies, self._requested = True, None
        elif not self._replies:
            self._request_progress()  # etcd has just confirmed the watch: find out whether it replies

    def _read(self) -> None:
        try:
            for events in self._watch:
                with self._taken:
                    self._taken.wait_for(lambda: self._waiting < MOST_BYTES or self._closing.is_set())
                    self._waiting += _size(events)
                self._queue.put(events)
        except EtcdError as error:
            if not self._closing.is_set():
                self._queue.put(error)

    def _make_room(self, taken: Iterable[list[Event] | EtcdError] = ()) -> None:
        """Note that these messages are no longer in the queue."""
        with self._taken:
            self._waiting -= sum(_size(message) for message in taken if not isinstance(message, EtcdError))
            self._taken.notify_all()


def _size(events: Iterable[Event]) -> int:
    return sum(len(event.path) + (len(event.value) if isinstance(event.value, bytes) else 0) for event in events)
