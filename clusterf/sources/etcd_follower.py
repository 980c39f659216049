"""Following a prefix in etcd, and keeping the current state while etcd is unreachable.

List, then watch from the next revision. On any error (the stream ends or breaks,
the revision was compacted, no progress notification, an expired token, a member
without a leader) the connection is dropped, the next endpoint tried and everything
listed again. Only the difference to the known state is passed on, so a repeated
list or event does no harm, and deletions that happened in between are not lost. A
list at an interval repairs what a watch has missed.

The synced state is kept on disk. If etcd is unreachable at the start, that copy is
used; without one, nothing is passed on.
"""

import logging
import time
from pathlib import Path

from clusterf.etcd.client import Client
from clusterf.etcd.endpoints import EndpointFailure, Endpoints
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdLocation
from clusterf.etcd.watch_reader import WatchReader
from clusterf.lib.backoff import Backoff
from clusterf.lib.log_once import LogOnce
from clusterf.sources.follower import Follower, OnUpdate
from clusterf.sources.last_good import KeyUpdate

__all__ = ["EtcdFollower"]

log = logging.getLogger(__name__)

STEADY = 10.0  # seconds of following after which the next failure is a new one
REMINDER = 600.0  # seconds after which a failure that lasts is logged again


class EtcdFollower(Follower):
    """Follows the keys below the prefix of `location`."""

    def __init__(
        self, url: str, location: EtcdLocation, state_file: Path | None, interval: float, on_update: OnUpdate
    ) -> None:
        super().__init__(url, state_file, interval, on_update)
        self._endpoints = Endpoints(location)
        self._backoff = Backoff(initial=0.1, longest=5)
        self._failures = LogOnce(log, remind=REMINDER)
        # the hash of each path's value, as passed on last
        self._known: dict[bytes, int] = {}
        # the revision of the last list
        self._revision = 0

    def _follow(self) -> None:
        self._try_endpoints()
        if not self._synced and not self._stopping.is_set():
            self._use_copy()
        while not self._stopping.wait(self._backoff.next()):
            self._try_endpoints()

    def _try_endpoints(self) -> None:
        """Follow each endpoint in turn until it fails."""
        for failure in self._endpoints.use(self._follow_endpoint, lambda: not self._stopping.is_set()):
            self._log_failure(failure)

    def _follow_endpoint(self, client: Client) -> None:
        """List, then watch, until `_stopping`. Raises EtcdError."""
        self._list(client)
        log.info("%s: following %s from revision %d", self._url, client.endpoint, self._revision)
        began = time.monotonic()
        watch = WatchReader(client.watch(self._revision + 1))
        try:
            next_list = self._next_scan()
            while not self._stopping.is_set():
                self._read(watch)
                if time.monotonic() >= next_list or self._reload.is_set():
                    self._list_again(client.endpoint)
                    next_list = self._next_scan()
        finally:
            watch.close()
            if time.monotonic() - began >= STEADY:
                self._backoff.reset()
                self._failures.clear()

    def _list_again(self, endpoint: str) -> None:
        """List on a new connection: the token of the connection that watches may have expired."""
        before = self._revision
        with self._endpoints.connect(endpoint) as client:
            self._list(client)
        if self._revision < before:
            # the watch would stay silent until its revision is reached again
            raise EtcdError(f"revision went back from {before} to {self._revision}")

    def _list(self, client: Client) -> None:
        """Read all keys; those that are missing were deleted."""
        self._reload.clear()
        listing = client.list()
        self._revision = listing.revision
        updates: list[KeyUpdate] = []
        known = {item.path: hash(item.value) for item in listing.items}
        for path, value in listing.items:
            if self._known.get(path) != known[path]:
                updates.append(self._last_good.put(path, value))
        updates.extend(self._last_good.put(path, None) for path in self._known.keys() - known.keys())
        self._known = known
        first, self._synced = not self._synced, True
        self._last_good.complete(known)
        if updates or first:
            self._on_update(updates, first)
        self._last_good.save(self._revision)

    def _read(self, watch: WatchReader) -> None:
        """Pass on the events that have arrived since the last list. Raises EtcdError once the watch has ended."""
        updates: list[KeyUpdate] = []
        revision = 0
        for path, value, revision in watch.events():
            if revision <= self._revision:
                continue  # included in the list
            if value is None:
                self._known.pop(path, None)
            else:
                self._known[path] = hash(value)
            updates.append(self._last_good.put(path, value))
        if updates:
            self._on_update(updates, False)
            self._last_good.save(revision)
        watch.check()

    def _use_copy(self) -> None:
        """Pass on the stored copy, if there is one."""
        copy = self._last_good.copy()
        if copy is None:
            log.warning("%s: unreachable, no last-good copy: nothing is written until it responds", self._url)
            return
        log.warning(
            "%s: unreachable, using the last-good copy of revision %d, %.0f seconds old",
            *(self._url, copy.revision, copy.age),
        )
        updates: list[KeyUpdate] = []
        for path, value in copy.items.items():
            self._known[path] = hash(value)
            updates.append(self._last_good.put(path, value))
        self._synced = True
        self._on_update(updates, True)

    def _log_failure(self, failure: EndpointFailure) -> None:
        then = "reloading" if failure.error.compacted else "reconnecting"
        self._failures.log(
            (failure.endpoint, failure.reason),
            "%s: %s: %s, %s; keeping the current state",
            *(self._url, failure.endpoint, failure.reason, then),
        )
