"""Keys in etcd that exist for as long as this node lives.

All keys are attached to one lease, which is kept alive four times within its TTL;
the keys of a node that dies expire with it. On any error (etcd does not answer,
the token expired) the connection is dropped and the next endpoint tried, without
end. On each connection, and at an interval, the keys on the lease are read and made
equal to the wanted ones; meanwhile a watch shows what others do to our keys, and they are
put back. A lease that is gone (it expired, was revoked, or etcd was restored from an
older state) is replaced by a new one, and all keys are written again.

The id of the lease is kept in a file: a node that restarts within the TTL takes
its lease over, so that no key is ever absent. Keys on it that are no longer wanted
are deleted once the whole wanted set is known, not before; until then they are put back
on a new lease if that one is lost.

Which keys are ours and which are others': see `clusterf.leases.leased_keys`. What is
done on one connection: `clusterf.leases.lease_session`.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from clusterf.etcd.client import DEADLINE, Client
from clusterf.etcd.endpoints import Endpoints
from clusterf.etcd.location import EtcdLocation
from clusterf.leases.claims import Claims
from clusterf.leases.holding import RENEWAL, Holding
from clusterf.leases.lease_file import NO_MACHINE, LeaseFile, Machine
from clusterf.leases.lease_record import LeaseRecord
from clusterf.leases.lease_session import LeaseSession
from clusterf.lib.backoff import Backoff

__all__ = ["LeaseKeeper"]

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Keeps keys below the prefix of `location` on a lease of `ttl` seconds, in the thread that calls `run`.

    The other methods may be called by any thread. `lease_file` None: the lease is not taken over after
    a restart, nor is one that was recorded elsewhere than on `machine`. `on_found` is told once, by that thread,
    what was on the lease that was taken over. `claims` are those of no node by default.
    """

    def __init__(
        self,
        location: EtcdLocation,
        ttl: int,
        lease_file: Path | None,
        machine: Machine = NO_MACHINE,
        on_found: Callable[[Mapping[bytes, bytes]], None] = lambda _: None,
        claims: Claims | None = None,
    ) -> None:
        self._ttl = ttl
        third = max(1.0, ttl / 3)  # seconds; how long one failure may take without losing the lease
        self._endpoints = Endpoints(location, deadline=min(DEADLINE, third))
        self._backoff = Backoff(initial=0.1, longest=third)
        self._record = LeaseRecord(LeaseFile(lease_file, ttl, location.prefix, machine))
        self._holding = Holding(ttl, self._record, on_found, claims)
        self._stopping = threading.Event()
        # set when there is work before the next renewal or check
        self._wake = threading.Event()
        # the session of the present connection
        self._session: LeaseSession | None = None

    def stop(self) -> None:
        """Have `run` return soon; the lease is left to expire."""
        self._stopping.set()
        self._wake.set()

    def check(self) -> None:
        """Read and repair the keys on the lease as soon as possible."""
        if (session := self._session) is not None:
            session.next_check = 0.0
        self._wake.set()

    def want(self, path: bytes, value: bytes | None) -> None:
        """Want the key `path` to have this value; None: to be absent."""
        with self._holding.lock:
            self._holding.claims.want(path, value)
        self._wake.set()

    def want_only(self, wanted: Mapping[bytes, bytes]) -> None:
        """Want exactly these keys."""
        with self._holding.lock:
            self._holding.claims.want_only(wanted)
        self._wake.set()

    def identify(self, engine: str) -> None:
        """Say whose keys these are. A lease that was recorded for another engine is not kept."""
        self._holding.engine = self._holding.engine or engine
        self._record.identify(engine)
        self._wake.set()

    def withdraw(self) -> None:
        """Delete all keys at once, by revoking the lease; keys wanted later go on a new one."""
        with self._holding.lock:
            self._holding.claims.want_only({})
            self._holding.withdrawing = True
        self._wake.set()

    def run(self) -> None:
        """Keep the keys until `stop`, at one endpoint after the other; then withdraw them if that is still to do."""
        self._holding.take_over(self._record.read(RENEWAL * self._ttl))
        while not self._stopping.is_set():
            self._try_endpoints(lambda: not self._stopping.is_set())
            self._stopping.wait(self._backoff.next())
        self._try_endpoints(lambda: self._holding.withdrawing)
        self._record.close()

    def _try_endpoints(self, wanted: Callable[[], bool]) -> None:
        for failure in self._endpoints.use(self._keep, wanted):
            # logged once per outage, as there are many retries
            level = logging.DEBUG if self._backoff.tries else logging.WARNING
            log.log(
                level,
                "etcd %s: %s, reconnecting; published keys expire within %d seconds",
                *(failure.endpoint, failure.reason, self._ttl),
            )

    def _keep(self, client: Client) -> None:
        """Do what is due, then wait, until `stop`. Raises EtcdError."""
        with closing(LeaseSession(client, self._holding, self._wake)) as session:
            self._session = session
            while True:
                self._wake.clear()
                if self._holding.withdrawing:
                    session.revoke()
                if self._stopping.is_set():
                    return
                session.work()
                if self._backoff.tries:
                    log.info("etcd %s: reconnected, all keys are published", client.endpoint)
                self._backoff.reset()
                self._wake.wait(session.wait)
