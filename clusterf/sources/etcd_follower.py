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
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from clusterf.etcd.client import Client, KeyListing
from clusterf.etcd.endpoints import EndpointFailure, Endpoints
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdLocation
from clusterf.etcd.pages import MOST_KEYS
from clusterf.etcd.watch_reader import WatchReader
from clusterf.lib.backoff import Backoff
from clusterf.lib.log_once import LogOnce
from clusterf.sources.doubt import SourceDoubt
from clusterf.sources.follower import Follower, OnUpdate, Update
from clusterf.sources.last_good import KeyUpdate
from clusterf.sources.lease_ends import LeaseEnds
from clusterf.sources.lineage import Lineage

__all__ = ["EtcdFollower"]

log = logging.getLogger(__name__)

STEADY = 10.0  # seconds of following after which the next failure is a new one
_NO_HASH = -1  # which nothing has
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
        # the revision of the last list, and that of the last event
        self._revision = self._seen = 0
        # whether a list of the known cluster was passed on
        self._believed = False

    def _follow(self) -> None:
        self._lineage = Lineage(self._record, self._last_good.revision)
        assert self._store is not None, "the store is open while a source is followed"
        self._leases = LeaseEnds(self._url, self._store)
        self._on_update([*self._doubt_begun(None)], False)
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
                self._read(client, watch)
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
        """Read all keys; those that are missing were deleted, unless that is in doubt."""
        self._reload.clear()
        listing = client.list()
        self._revision = self._seen = listing.revision
        known = {item.path: hash(item.value) for item in listing.items}
        before = self._lineage.doubt
        self._judge(client, listing, known.keys() | self._leases.pending)
        if self._lineage.doubt is None:
            self._leases.listed(known, listing.leases)
            now = time.monotonic()
            self._leases.settle(now, now, client.time_to_live)
        for path in self._leases.pending - known.keys():
            known[path] = self._known.get(path, _NO_HASH)
        updates: list[Update] = [*self._doubt_begun(before), *self._changes(listing, known)]
        if self._lineage.doubt is None:
            updates.extend([SourceDoubt(None)] if before is not None else self._end_doubt_of_copy())
        self._known = known
        first, self._synced = not self._synced, True
        self._last_good.complete(known)
        if self._lineage.doubt is None:
            self._last_good.read(known)
        self._on_update(updates, first)
        self._last_good.save(self._revision)
        self._last_good.renew()

    def _judge(self, client: Client, listing: KeyListing, present: AbstractSet[bytes]) -> None:
        """Begin, keep or end the doubt about the etcd that answers."""
        doubt = self._lineage.doubt
        confirmed = self._take_confirmation()
        if confirmed:
            self._leases.confirm()
        if confirmed and doubt is not None:
            self._lineage.accept(listing.cluster, listing.revision)
            self._known = dict.fromkeys(self._known, _NO_HASH)  # all that is there is to be recorded
            log.warning("%s: etcd cluster %x confirmed: no longer holding removals", self._url, listing.cluster)
            return
        # in a doubt, what the known cluster had is only what is recorded
        had = self._last_good.paths() | (self._known.keys() if doubt is None else set())
        missing = had - present
        self._lineage.judge(
            listing.cluster, listing.revision, lambda: self._lineage.were_deleted(missing, client.paths)
        )
        if doubt is not None and self._lineage.doubt is None:
            log.warning("%s: the known etcd cluster is back: no longer holding removals", self._url)

    def _changes(self, listing: KeyListing, known: Mapping[bytes, int]) -> Iterator[KeyUpdate]:
        """Yield the differences between the known state and the listing."""
        missing = self._known.keys() - known.keys()
        if self._lineage.doubt is None:
            # also what another cluster did not have, or was in force at the start
            missing |= self._last_good.paths() - known.keys()
            self._believed = True
        elif not self._believed:
            # this process has never passed on what the known cluster had: it stays in force
            missing -= set(self._last_good.paths())
            copy = self._last_good.copy() if not self._synced else None
            for path, raw in copy.items.items() if copy is not None else ():
                yield self._last_good.put(path, raw)
        for path, value in listing.items:
            if self._known.get(path) != known[path]:
                yield self._last_good.put(path, value)
        for path in self._leases.pending - self._known.keys():
            # of a lease that ended, in force before this process began
            yield self._last_good.put(path, self._last_good.raw(path))
        for path in missing:
            yield self._last_good.put(path, None)

    def _doubt_begun(self, before: str | None) -> Iterator[SourceDoubt]:
        """Report a doubt that differs from the one before, and have what is recorded stay so during a doubt."""
        doubt = self._lineage.doubt
        self._last_good.freeze(doubt is not None)
        if doubt not in (None, before):
            log.error("%s: %s: holding removals until that ends, or until clusterf config confirm", self._url, doubt)
            yield SourceDoubt(doubt)

    def _read(self, client: Client, watch: WatchReader) -> None:
        """Pass on the events that have arrived since the last list. Raises EtcdError once the watch has ended."""
        updates: list[Update] = []
        for path, value, revision, lease in watch.events():
            if revision <= self._revision:
                continue  # included in the list
            self._seen = revision
            if value is not None:
                self._leases.put(path, lease)
                self._known[path] = hash(value)
            elif self._leases.delete(path):
                continue
            else:
                self._known.pop(path, None)
            updates.append(self._last_good.put(path, value))
        for path in self._leases.settle(time.monotonic(), watch.heard, client.time_to_live):
            self._known.pop(path, None)
            updates.append(self._last_good.put(path, None))
        if updates:
            self._lineage.see(self._seen)
            self._on_update(updates, False)
            self._last_good.save(self._seen)
        watch.check()
        if len(self._known) > MOST_KEYS:
            raise EtcdError(f"too much below the prefix: more than {MOST_KEYS} keys")
        self.known = watch.heard

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
        # (a doubt about etcd itself goes on)
        updates: list[Update] = list(self._doubt_copy()) if self._lineage.doubt is None else []
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
