"""Following etcd: what it says below a prefix, and keeping one's head when it says nothing.

List, then watch from the next revision. On any trouble (the stream ends or
breaks, the revision was compacted, no sign of life, a token that has expired,
a member without a leader) the connection is dropped, the next endpoint taken
and everything listed again. What is handed on is only the difference to what
was known, so that neither a fresh list nor a repeated event does any harm, and
deletions that happened in between are not lost. A list at an interval mends
what a watch has missed.

What was synced is kept on disk. Who starts while etcd is away works from that
copy; without one nothing is said.
"""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

from clusterf.etcd.errors import EtcdError
from clusterf.etcd.client import Client
from clusterf.etcd.location import EtcdLocation
from clusterf.etcd.watch import Event, Watch
from clusterf.lib.backoff import Backoff
from clusterf.lib.jitter import shuffled
from clusterf.sources.follower import Follower, OnUpdate
from clusterf.sources.last_good import KeyUpdate

__all__ = ["EtcdFollower"]

log = logging.getLogger(__name__)

SIGN_OF_LIFE = 5.0  # seconds of silence after which etcd is asked for one, and that it may then take
STEADY = 10.0  # seconds of following after which the trouble before is over
REMINDER = 600.0  # seconds after which trouble that lasts is told again
GATHER = 1000  # messages of etcd that are taken in at once, at most


class EtcdFollower(Follower):
    """Follows what is below a prefix in etcd."""

    def __init__(
        self, url: str, location: EtcdLocation, state_file: Path | None, interval: float, say: OnUpdate
    ) -> None:
        super().__init__(url, state_file, interval, say)
        self._location = location
        self._backoff = Backoff(initial=0.1, longest=5)
        self._endpoints = shuffled(location.endpoints)  # so that the nodes of a cluster spread over the members
        # what was last heard of each path: the hash of its value
        self._known: dict[bytes, int] = {}
        # the revision of the last list
        self._revision = 0
        # when trouble with an endpoint will be told again
        self._told: dict[tuple[str, str], float] = {}

    def _follow(self) -> None:
        self._try_all()
        if not self._synced and not self._stopping.is_set():
            self._use_copy()
        while not self._stopping.wait(self._backoff.next()):
            self._try_all()

    def _try_all(self) -> None:
        """Follow each endpoint for as long as it goes."""
        for endpoint in self._endpoints:
            if self._stopping.is_set():
                return
            try:
                with Client(self._location, endpoint) as client:
                    self._follow_endpoint(client)
            except EtcdError as error:
                self._report(endpoint, str(error).removeprefix(f"{endpoint}: "))

    def _follow_endpoint(self, client: Client) -> None:
        """List, then watch. Raises EtcdError when it is over."""
        self._list(client)
        log.info("%s: following %s from revision %d", self._url, client.endpoint, self._revision)
        began = time.monotonic()
        heard = _Heard(client.watch(self._revision + 1))
        try:
            next_list = self._next_look()
            while not self._stopping.is_set():
                self._take(heard)
                if time.monotonic() >= next_list or self.again.is_set():
                    self._list_again(client.endpoint)
                    next_list = self._next_look()
        finally:
            heard.close()
            if time.monotonic() - began >= STEADY:
                self._backoff.reset()
                self._told.clear()

    def _list_again(self, endpoint: str) -> None:
        """List on a connection of its own, as the token of the one that watches may have expired."""
        before = self._revision
        with Client(self._location, endpoint) as client:
            self._list(client)
        if self._revision < before:
            raise EtcdError("the revision has gone back, so what is watched for may never come")

    def _report(self, endpoint: str, trouble: str) -> None:
        """Log the trouble with an endpoint, unless that was done lately."""
        now = time.monotonic()
        self._told = {told: until for told, until in self._told.items() if until > now}
        if (endpoint, trouble) not in self._told:
            self._told[endpoint, trouble] = now + REMINDER
            log.warning("%s: %s: %s; what is known stays in force", self._url, endpoint, trouble)

    def _list(self, client: Client) -> None:
        """Take in all there is, and that the rest is no more."""
        self.again.clear()
        listing = client.list()
        self._revision = listing.revision
        news: list[KeyUpdate] = []
        known = {item.path: hash(item.value) for item in listing.items}
        for path, value in listing.items:
            if self._known.get(path) != known[path]:
                news.append(self._state.put(path, value))
        news.extend(self._state.put(path, None) for path in self._known.keys() - known.keys())
        self._known = known
        first, self._synced = not self._synced, True
        self._state.told(known)
        if news or first:
            self._say(news, first)
        self._state.save(self._revision)

    def _take(self, heard: "_Heard") -> None:
        """Take in what has happened since the last list. Raises EtcdError when there will be no more."""
        news: list[KeyUpdate] = []
        revision = 0
        for path, value, revision in heard.events():
            if revision <= self._revision:
                continue  # the list knew
            if value is None:
                self._known.pop(path, None)
            else:
                self._known[path] = hash(value)
            news.append(self._state.put(path, value))
        if news:
            self._say(news, False)
            self._state.save(revision)
        heard.check()

    def _use_copy(self) -> None:
        """Work from what was last synced, if it is there."""
        copy = self._state.copy()
        if copy is None:
            log.warning("%s: not reachable, and there is no copy: nothing is written until it is", self._url)
            return
        log.warning(
            "%s: not reachable, working from the copy of revision %d, %.0f seconds old",
            self._url,
            copy.revision,
            copy.age,
        )
        news: list[KeyUpdate] = []
        for path, value in copy.items.items():
            self._known[path] = hash(value)
            news.append(self._state.put(path, value))
        self._synced = True
        self._say(news, True)


class _Heard:
    """What a watch says, read by a thread of its own, so that silence can be noticed."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._queue: Queue[list[Event] | EtcdError] = Queue(GATHER)
        self._closing = False
        self._last = time.monotonic()
        # when a sign of life was asked for that has not come
        self._asked: float | None = None
        # whether this etcd gives such signs at all; before 3.4 it does not
        self._answers = False
        # what the watch has ended with
        self._error: EtcdError | None = None
        self._thread = threading.Thread(target=self._read, name="etcd watch", daemon=True)
        self._thread.start()

    def events(self) -> Iterator[Event]:
        """Wait for what comes next, for a moment; yield it, all that came before the end."""
        try:
            batch = [self._queue.get(timeout=0.25)]
        except Empty:
            return
        while len(batch) < GATHER and not self._queue.empty():
            batch.append(self._queue.get())
        self._last = time.monotonic()
        for message in batch:
            if isinstance(message, EtcdError):
                self._error = message
                return
            self._alive(sign=not message)
            yield from message

    def check(self) -> None:
        """Ask for a sign of life when there has been none for long. Raises EtcdError when the watch is over."""
        if self._error is not None:
            raise self._error
        now = time.monotonic()
        if self._asked is None:
            if now - self._last >= SIGN_OF_LIFE:
                self._ask()
        elif now - self._asked >= SIGN_OF_LIFE:
            if self._answers:
                raise EtcdError("no sign of life from the watch")
            self._asked, self._last = None, now

    def close(self) -> None:
        """End the watch."""
        self._closing = True
        self._watch.cancel()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)  # the reader may wait for room
            except Empty:
                continue

    def _ask(self) -> None:
        self._asked = time.monotonic()
        self._watch.ask_progress()

    def _alive(self, *, sign: bool) -> None:
        """Take it that a message has come, perhaps one that is nothing but a sign of life."""
        if not sign:
            self._asked = None
        elif self._asked is not None:
            self._answers, self._asked = True, None
        elif not self._answers:
            self._ask()  # the watch has begun: find out whether it will answer

    def _read(self) -> None:
        try:
            for events in self._watch:
                self._queue.put(events)
        except EtcdError as error:
            if not self._closing:
                self._queue.put(error)
