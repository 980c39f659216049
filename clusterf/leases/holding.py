"""The lease that a node holds and the keys on it, from one connection to etcd to the next."""

import threading
from collections.abc import Callable, Mapping

from clusterf.leases.claims import Claims
from clusterf.leases.lease_record import LeaseRecord
from clusterf.leases.leased_keys import NOTHING, LeasedKeys
from clusterf.leases.put_backs import PutBacks

__all__ = ["RENEWAL", "Holding"]

RENEWAL = 0.25  # of the TTL, about, between two renewals
LONGEST_KEY = 30.0  # seconds until a key is put back that others take again and again
LONGEST_LEASE = 5.0  # seconds until a lease is replaced that others end again and again, and a renewal's time at most


class Holding:
    """A lease of `ttl` seconds, 0 while there is none, and `keys`, which `lock` guards with all other fields.

    `on_found` is told what was on the lease that was taken over, once that is known.
    """

    def __init__(
        self,
        ttl: int,
        record: LeaseRecord,
        on_found: Callable[[Mapping[bytes, bytes]], None],
        claims: Claims | None = None,
    ) -> None:
        self.ttl = ttl
        self.record = record
        self.lock = threading.Lock()
        self.claims = claims or Claims(LeasedKeys())
        self.lease = 0
        # whether `lease` was taken over from an earlier process, and nothing is known yet of what is on it
        self.unread = False
        self.withdrawing = False
        # whether `lease` was taken over, and the id of the first engine whose keys these are, empty: not known
        self.taken_over = False
        self.engine = ""
        self.key_delays = PutBacks(LONGEST_KEY)
        self.lease_delays = PutBacks(min(LONGEST_LEASE, RENEWAL * ttl))
        self._on_found: Callable[[Mapping[bytes, bytes]], None] | None = on_found

    def take_over(self, lease: int) -> None:
        """Take over the lease of an earlier process; 0: there is none."""
        self.lease, self.unread = lease, bool(lease)
        self.taken_over = bool(lease)
        if lease:
            self.record.write(lease)
        else:
            self.found(NOTHING)

    @property
    def keys(self) -> LeasedKeys:
        """The keys wanted on the lease, without those that are left to others."""
        return self.claims.keys

    @property
    def is_foreign(self) -> bool:
        """Whether the lease was taken over, but recorded for another engine."""
        return self.taken_over and self.record.found_engine not in {"", self.engine} and bool(self.engine)

    def found(self, keys: Mapping[bytes, bytes]) -> None:
        """Take in what is on the lease that was taken over, once."""
        self.unread = False
        if self._on_found is not None:
            on_found, self._on_found = self._on_found, None
            on_found(keys)

    def granted(self, lease: int) -> None:
        """Hold a new lease, with no key on it."""
        self.lease = lease
        self.record.write(lease)

    def drop(self, *, ended: bool) -> None:
        """Hold no lease any more; `ended`: it is gone, and with it the keys that were on it.

        As long as nobody has said which keys there are to be, those that were found on it are.
        """
        with self.lock:
            if ended:
                self.keys.want_found()
            else:
                self.claims.former.add(self.lease)
            self.keys.reset_written()
            self.lease, self.taken_over = 0, False
        self.record.write(0)
        if self.unread:
            self.found(NOTHING)
