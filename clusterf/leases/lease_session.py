"""The lease and its keys, by one connection to etcd: what is due is done, then waited for.

A watch shows within milliseconds what others do to our keys: they are put back, a new lease
coming first if that is why they went. Who writes on our lease, but not by this process, holds it, too, as
a machine that was cloned does: then a new one is taken, to which our keys move without a gap.
Before this process deletes what it finds on a lease that it took over, and did not write, it
writes one of those keys as it is. Somebody who lives sees that, and has moved his keys within PROBATION.
"""

import logging
import threading
import time
from collections.abc import Iterable

import msgspec

from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.watch import Event
from clusterf.leases.claimant import Claimant
from clusterf.leases.holding import RENEWAL, Holding
from clusterf.leases.key_watch import KeyWatch
from clusterf.leases.leased_keys import Owner, Turn
from clusterf.lib.jitter import jittered
from clusterf.lib.text import escape, printable

__all__ = ["CHECK", "PROBATION", "LeaseSession"]

log = logging.getLogger(__name__)

CHECK = 30.0  # seconds, about, between two reads of the keys on the lease
PROBATION = 1.0  # seconds
MANY = 10_000  # keys that are known beside the wanted ones
_SHOWN = 3  # paths in a line of the log
_LONGEST = 300  # characters of a name


class LeaseSession:
    """Keeps the lease and the keys of `holding` by `client`, in the thread that calls its methods; all raise EtcdError.

    `wake` is set when there is something to do. `close` it in the end.
    """

    def __init__(self, client: Client, holding: Holding, wake: threading.Event) -> None:
        self._client = client
        self._holding = holding
        self._keys = holding.keys
        self._claimant = Claimant(client, holding)
        self._wake = wake
        self._watch: KeyWatch | None = None
        # the revision in which we wrote a key last: what the watch shows of an earlier one says nothing
        self._revisions: dict[bytes, int] = {}
        # keys that others took, and when each is to be put back, on the clock of `time.monotonic`, as all that follow
        self._disputed: dict[bytes, float] = {}
        # when to keep the lease alive, to read the keys on it, and to grant one, at the earliest
        self.next_renewal = self.next_check = self._next_grant = 0.0
        # until when doubtful keys wait for somebody who moves them
        self._doubted: float | None = None

    def close(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.close()

    def work(self) -> None:
        """Do what is due."""
        holding = self._holding
        if holding.is_foreign:
            what = "etcd %s: lease %x was recorded for another engine, using a new one"
            log.warning(what, self._endpoint, holding.lease)
            self._drop(ended=False)
        self._take_events()
        now = time.monotonic()
        if holding.lease and now >= self.next_renewal:
            self._renew()
        if holding.lease and now >= self.next_check:
            self._read()
        self._put_back(now)
        while self._write():
            pass
        self._claimant.look()
        while self._write():
            pass

    @property
    def wait(self) -> float:
        """The seconds until something is due."""
        due = list(self._disputed.values())
        if self._holding.lease:
            due += [self.next_renewal, self.next_check]
        elif self._keys.wanted:
            due.append(self._next_grant)
        if self._doubted is not None:
            due.append(self._doubted)
        if self._claimant.is_waiting:
            due.append(self._claimant.next_look)
        return max(0.0, min(due) - time.monotonic()) if due else CHECK

    def revoke(self) -> None:
        """Delete all keys at once."""
        holding = self._holding
        if holding.lease:
            self._client.revoke(holding.lease)
            log.info("etcd %s: lease %x revoked, published keys withdrawn", self._endpoint, holding.lease)
        holding.withdrawing = False
        self._drop(ended=False)

    @property
    def _endpoint(self) -> str:
        return self._client.endpoint

    def _renew(self) -> None:
        if self._client.keep_alive(self._holding.lease):
            self.next_renewal = time.monotonic() + jittered(RENEWAL * self._holding.ttl)
        else:
            self._ended()

    def _ended(self) -> None:
        log.warning("etcd %s: lease expired or revoked, publishing all keys again", self._endpoint)
        now = time.monotonic()
        self._next_grant = now + self._holding.lease_delays.delay(b"", now)
        self._drop(ended=True)

    def _drop(self, *, ended: bool) -> None:
        self._disputed.clear()
        self._doubted = None
        self._holding.drop(ended=ended)

    def _read(self) -> None:
        """Read the keys on the lease, and watch what becomes of them from then on."""
        holding = self._holding
        self._open_watch()
        found = self._client.leased(holding.lease)
        self.next_check = time.monotonic() + jittered(CHECK)
        self._disputed.clear()
        with holding.lock:
            doubtful = self._keys.reset_written(found)
            holding.claims.retry(all_of_them=True)
        if holding.unread:
            holding.found(found)
        elif doubtful:
            self._shared(doubtful)

    def _open_watch(self) -> None:
        if self._watch is None:
            revision = self._client.revision()
            # (later ones are of an etcd that was restored from a backup since)
            self._revisions = {path: at for path, at in self._revisions.items() if at <= revision}
            self._watch = KeyWatch(self._client, revision + 1, self._wake)

    def _take_events(self) -> None:
        """Take in what others did to our keys."""
        if self._watch is None:
            return
        try:
            events = self._watch.events()
        except EtcdError as error:
            log.debug("etcd %s: %s: keys are read again", self._endpoint, error)
            self._watch, self.next_check = None, time.monotonic() + 1.0
            return
        foreign = [event for event in events if event.revision > self._revisions.get(event.path, 0)]
        turns: dict[Turn | None, list[bytes]] = {}
        with self._holding.lock:
            for event in foreign:
                turn = self._keys.changed(event.path, event.value, self._owner(event))
                turns.setdefault(turn, []).append(event.path)
                if turn is Turn.TAKEN:
                    self._holding.claims.taken(event.path)
            self._holding.claims.freed(event.path for event in events if event.value is None or not event.lease)
        if events and len(self._revisions) > 2 * len(self._keys.wanted) + MANY:
            seen = events[-1].revision  # nothing comes any more of what was before
            known = self._revisions.items()
            self._revisions = {path: at for path, at in known if path in self._keys.wanted or at >= seen}
        self._take_turns(turns)

    def _owner(self, event: Event) -> Owner:
        if not event.lease:
            return Owner.NOBODY
        return Owner.OURS if event.lease == self._holding.lease else Owner.ANOTHER

    def _take_turns(self, turns: dict[Turn | None, list[bytes]]) -> None:
        lease = self._holding.lease
        if (moved := turns.get(Turn.MOVED)) is not None:
            what = "etcd %s: lease %x, taken over, is that of a node that lives: it has moved its keys (%s)"
            log.warning(what, self._endpoint, lease, _listed(moved))
        if (shared := turns.get(Turn.SHARED)) is not None:
            self._shared(shared)
        elif (lost := turns.get(Turn.LOST)) is not None and lease:
            self._lost(list(dict.fromkeys(lost)))

    def _shared(self, paths: list[bytes]) -> None:
        what = "etcd %s: lease %x is used by another node, too, which published %s: using a new one"
        log.warning(what, self._endpoint, self._holding.lease, _listed(paths))
        self._drop(ended=False)

    def _lost(self, paths: list[bytes]) -> None:
        """Have keys put back that others deleted or overwrote."""
        self._renew()
        if not self._holding.lease:
            return  # which is why
        now = time.monotonic()
        delays = {path: self._holding.key_delays.delay(path, now) for path in paths}
        what = "etcd %s: keys of ours were deleted or overwritten by someone else, putting them back%s: %s"
        longest = max(delays.values())
        log.warning(what, self._endpoint, f" within {longest:.1f} seconds" if longest else "", _listed(paths))
        for path, delay in delays.items():
            self._disputed[path] = now + delay

    def _put_back(self, now: float) -> None:
        due = [path for path, at in self._disputed.items() if at <= now]
        with self._holding.lock:
            for path in due:
                del self._disputed[path]
                self._keys.lost(path)

    def _write(self) -> bool:
        """Take one step towards the wanted keys; return whether there may be another."""
        holding = self._holding
        with holding.lock:
            step = self._keys.next()
        if step is None:
            return self._doubt()
        if not holding.lease:
            if time.monotonic() < self._next_grant:
                return False
            self._grant()
        try:
            self._revisions |= self._claimant.write(step)
        except EtcdError as error:
            if not error.lease_gone:
                raise
            self._ended()
        return True

    def _grant(self) -> None:
        holding = self._holding
        holding.granted(self._client.grant(holding.ttl))
        now = time.monotonic()
        self.next_renewal, self.next_check = now + RENEWAL * holding.ttl, now + CHECK
        log.info("etcd %s: publishing on lease %x, TTL %d seconds", self._endpoint, holding.lease, holding.ttl)
        self._open_watch()

    def _doubt(self) -> bool:
        """Have doubtful keys deleted that nobody moved in time; return whether there are any as of now."""
        lease = self._holding.lease
        with self._holding.lock:
            one = self._keys.to_doubt()
        if one is None or not lease:
            self._doubted = None
            return False
        now = time.monotonic()
        if self._doubted is None:
            # (an empty value stands for one that is too large)
            if one[1] and (revision := self._client.touch(*one, lease)):
                self._revisions[one[0]] = revision
            self._doubted = now + PROBATION
        if now < self._doubted:
            return False
        self._doubted = None
        with self._holding.lock:
            believed = self._keys.believe()
        self._log_deletions(believed.items())
        return True

    def _log_deletions(self, keys: Iterable[tuple[bytes, bytes]]) -> None:
        for path, value in keys:
            what = "etcd %s: deleting %s, not published by this process, but on its lease %x; publisher: %s"
            log.info(what, self._endpoint, escape(path), self._holding.lease, _publisher(value))


def _listed(paths: list[bytes]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(map(escape, paths[:_SHOWN])) + more


def _publisher(value: bytes) -> str:
    """Return who published a key, as its value says."""
    try:
        publisher = msgspec.json.decode(value)["publisher"]
    except (ValueError, RecursionError, LookupError, TypeError, msgspec.DecodeError):
        return "unknown"
    return printable(str(publisher), _LONGEST)
