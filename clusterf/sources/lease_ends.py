"""Whether removals are to be believed that came by the end of a lease: nobody has asked for them.

If etcd is frozen for longer than their TTL, or out of reach of those who keep them alive, all leases end together,
with nothing wrong but etcd; their owners put the keys back as soon as they can. A host that dies takes one lease with
it, while the others are kept alive. So what goes with a lease stays in force for a moment, until it
shows which of the two it is: with one lease among others that live it goes, else it stays for twice the TTL, or
until the operator confirms it. As it is in force, it is probed on: what is dead does not keep its weight.

Times are in seconds on the monotonic clock. Pure, but for the record and the question how long a lease lives.
"""

import logging
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import islice
from math import inf

import msgspec

from clusterf.etcd.client import LeaseTime
from clusterf.etcd.errors import EtcdError
from clusterf.lib.store import Store
from clusterf.sources.leased_paths import LeasedPaths
from clusterf.sources.source_record import SourceRecord

__all__ = ["AWAY", "TTL", "WITHIN", "LeaseEnds"]

log = logging.getLogger(__name__)

WITHIN = 1.0
"""Seconds within which leases end together."""

TTL = 10
"""Seconds that a lease is taken to be granted for if that is not known."""

AWAY = 6.5
"""Seconds without a sign of etcd, which gives one about every 5, after which it may have been frozen."""

_EVIDENCE = 3 * WITHIN  # for which the end of a lease is remembered
_ASKED = 20  # leases whose TTL is asked for at once
_RETRY = 30.0  # until that is asked again after an error
_SAMPLE = 3  # other leases that are looked at
_ENDED, _TTLS = "ended", "ttls"  # names in the record

Ask = Callable[[int], LeaseTime]
"""Returns how long a lease lives. Raises EtcdError."""


class _End(msgspec.Struct):
    """The end of a lease at the moment `at`, and its paths that are not back. `until`: when they go; None: undecided.

    `at` None: it was before this process began.
    """

    at: float | None
    ttl: int
    paths: set[bytes]
    until: float | None = None


class LeaseEnds:
    """What the ends of leases take from the source at `url`, and when that is to be believed."""

    def __init__(self, url: str, store: Store) -> None:
        self._url = url
        self._record = SourceRecord(url, store)
        self._leased = LeasedPaths(url, store)
        # the seconds that leases are granted for; those that are not known are asked for from some moment on
        self._ttls = self._record.get(_TTLS, dict[int, int]) or {}
        self._ask_at = -inf
        # the lease of each path that was deleted, and is still in force
        self._pending: dict[bytes, int] = {}
        # what was deleted since `settle`, by its lease
        self._deleted: dict[int, set[bytes]] = {}
        self._ended: dict[int, _End] = {}
        self._confirmed = False
        # when there was a sign of etcd last, and since when, after a time without
        self._heard = self._returned = -inf
        # the paths that are held, and those that have gone of them
        self._held = self._gone = 0
        # what was recorded last, by name
        self._saved: dict[str, Mapping[int, object]] = {}
        for lease, paths in (self._record.get(_ENDED, dict[int, list[bytes]]) or {}).items():
            self._ended[lease] = _End(None, self._ttls.get(lease, TTL), set(paths))
            self._pending.update(dict.fromkeys(paths, lease))

    @property
    def pending(self) -> frozenset[bytes]:
        """The paths that are deleted, and in force."""
        return frozenset(self._pending)

    def put(self, path: bytes, lease: int) -> None:
        """Note that the path has a value, which is on a lease; 0: on none."""
        self._leased.put(path, lease)
        if path in self._pending:
            before = self._pending.pop(path)
            self._deleted.get(before, set()).discard(path)
            if before in self._ended:
                self._ended[before].paths.discard(path)

    def delete(self, path: bytes) -> bool:
        """Return whether the path, which was deleted, is to stay in force until `settle` yields it."""
        lease = self._leased.lease(path)
        if lease:
            self._leased.put(path, 0)
            self._pending[path] = lease
            self._deleted.setdefault(lease, set()).add(path)
        return bool(lease)

    def listed(self, present: Container[bytes], leases: Mapping[bytes, int]) -> None:
        """Note which paths there are, and their leases."""
        for path in [*self._leased.paths, *self._pending]:
            if path in present:
                self.put(path, leases.get(path, 0))
            elif path not in self._pending:
                self.delete(path)
        for path, lease in leases.items():
            self.put(path, lease)

    def confirm(self) -> None:
        """Have the next `settle` believe all that is deleted until then."""
        self._confirmed = True

    def settle(self, now: float, heard: float, ask: Ask) -> list[bytes]:
        """Return the paths that are no longer to be in force, and record the others.

        `heard` is the last moment of which all changes are known.
        """
        self._hear(heard)
        going = list(self._sort_out(now, ask))
        for lease, end in list(self._ended.items()):
            if not end.paths and end.at is None:
                del self._ended[lease]
            elif end.at is None:
                self._resume(end, now)
            elif end.until is None and (self._confirmed or now - end.at >= WITHIN):
                self._judge(lease, end, ask)
        for lease, end in list(self._ended.items()):
            if self._confirmed or (end.until is not None and end.until <= now < heard + AWAY):
                going += end.paths
                self._gone += len(end.paths) if end.until != -inf else 0
                end.paths.clear()
            if not end.paths and end.at is not None and now - end.at >= _EVIDENCE:
                del self._ended[lease]
        self._confirmed = False
        for path in going:
            self._pending.pop(path, None)
        self._end_hold()
        self._learn(now, ask)
        self._save()
        return going

    def _hear(self, heard: float) -> None:
        """Have the time of what is held stand still while there is no sign of etcd."""
        if heard - self._heard >= AWAY:
            for end in self._ended.values():
                if end.until is not None:
                    end.until += heard - self._heard
            self._returned = heard
        self._heard = max(self._heard, heard)

    def _sort_out(self, now: float, ask: Ask) -> Iterator[bytes]:
        """Yield what was deleted since the last time by somebody, not by the end of its lease."""
        for lease, paths in self._deleted.items():
            # a lease takes all its keys at once (some may be back already)
            if lease in self._leased.leases or _lives(lease, ask):
                yield from paths
            else:
                self._ended[lease] = _End(now, self._ttls.get(lease, TTL), paths)
        self._deleted = {}

    def _judge(self, lease: int, end: _End, ask: Ask) -> None:
        """Decide about the keys of a lease that has ended, and of all that ended with it."""
        assert end.at is not None
        together = [
            other for other in self._ended.values() if other.at is not None and abs(other.at - end.at) <= WITHIN
        ]
        others = [other for other in self._leased.leases if other != lease]
        alone = len(together) == 1 and end.at - self._returned > _EVIDENCE
        if self._confirmed or (alone and any(_is_kept_alive(other, ask) for other in islice(others, _SAMPLE))):
            end.until = -inf
            return
        undecided = [other for other in together if other.until is None]
        for other in undecided:
            other.until = end.at + 2 * other.ttl
        paths = sum(len(other.paths) for other in undecided)
        if paths:
            self._held += paths
            log.error(
                "%s: %d of %d leases ended at once: the removal of their %d keys is held for %d seconds, "
                "or until clusterf config confirm",
                *(self._url, len(together), len(together) + len(others), paths, 2 * max(e.ttl for e in undecided)),
            )

    def _resume(self, end: _End, now: float) -> None:
        """Go on with what the process before this one had begun: nobody knows how far it was."""
        end.at, end.until = now, now + 2 * end.ttl
        self._held += len(end.paths)
        log.error(
            "%s: the removal of %d keys of a lease that ended is held for %d seconds, "
            "or until clusterf config confirm, as before the start",
            *(self._url, len(end.paths), 2 * end.ttl),
        )

    def _end_hold(self) -> None:
        """Log it once nothing is held any longer."""
        if self._held and not any(end.paths and end.until is not None for end in self._ended.values()):
            log.warning(
                "%s: removals by the end of leases are no longer held: %d keys are back, %d are removed",
                *(self._url, self._held - self._gone, self._gone),
            )
            self._held = self._gone = 0

    def _learn(self, now: float, ask: Ask) -> None:
        """Ask for the TTLs that are not known; it is too late once a lease has ended."""
        if now < self._ask_at:
            return
        unknown = (lease for lease in self._leased.leases if lease not in self._ttls)
        try:
            for lease in list(islice(unknown, _ASKED)):
                self._ttls[lease] = ask(lease).granted or TTL
        except EtcdError as error:
            self._ask_at = now + _RETRY
            log.debug("%s: the TTL of leases is not known: %s", self._url, error)

    def _save(self) -> None:
        self._leased.save()
        known = {*self._leased.leases, *self._ended}
        self._ttls = {lease: ttl for lease, ttl in self._ttls.items() if lease in known}
        ended = {lease: sorted(end.paths) for lease, end in self._ended.items() if end.paths}
        for name, value in ((_TTLS, dict(self._ttls)), (_ENDED, ended)):
            if value != self._saved.get(name, {}):
                self._saved[name] = value
                self._record.put(name, value or None)


def _lives(lease: int, ask: Ask) -> bool:
    """Tell whether the lease has not ended; if that cannot be found out, it may have."""
    left, _ = _time(lease, ask)
    return left > 0


def _is_kept_alive(lease: int, ask: Ask) -> bool:
    """Tell whether somebody has kept the lease alive of late, as its owner does within a third of its TTL."""
    left, granted = _time(lease, ask)
    # (etcd rounds it down, which is much of a short one)
    return granted > 0 and 2 * (left + 1) > granted


def _time(lease: int, ask: Ask) -> LeaseTime:
    """Return how long the lease lives; if that cannot be found out, as if it did not."""
    try:
        return ask(lease)
    except EtcdError as error:
        log.debug("lease %x: %s", lease, error)
        return LeaseTime(0, 0)
