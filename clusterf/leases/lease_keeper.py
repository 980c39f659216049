"""Keys in etcd that exist for as long as this node lives.

All keys are attached to one lease, which is kept alive four times within its TTL;
the keys of a node that dies expire with it. On any error (etcd does not answer,
the token expired) the connection is dropped and the next endpoint tried, without
end. On each connection, and at an interval, the keys on the lease are read and made
equal to the wanted ones, which repairs what others did to our keys. A lease that
is gone (it expired, was revoked, or etcd was restored from an older state) is
replaced by a new one, and all keys are written again.

The id of the lease is kept in a file: a node that restarts within the TTL takes
its lease over, so that no key is ever absent. Keys on it that are no longer wanted
are deleted once the whole wanted set is known, not before.

Which keys are ours and which are others': see `clusterf.leases.leased_keys`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from clusterf.etcd.client import DEADLINE, Client
from clusterf.etcd.endpoints import Endpoints
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdLocation
from clusterf.leases.lease_file import LeaseFile
from clusterf.leases.leased_keys import LeasedKeys
from clusterf.lib.backoff import Backoff
from clusterf.lib.jitter import jittered
from clusterf.lib.store import KEEP_INTERVAL

__all__ = ["RENEWAL", "LeaseKeeper"]

log = logging.getLogger(__name__)

RENEWAL = 0.25  # of the TTL, about, between two renewals
CHECK = 30.0  # seconds, about, between two reads of the keys on the lease


class LeaseKeeper:
    """Keeps keys below the prefix of `location` on a lease of `ttl` seconds, in the thread that calls `run`.

    The other methods may be called by any thread. `lease_file` None: the lease is not taken over after
    a restart. `machine` is that of `LeaseFile`.
    """

    def __init__(self, location: EtcdLocation, ttl: int, lease_file: Path | None, machine: str = "") -> None:
        self._ttl = ttl
        third = max(1.0, ttl / 3)  # seconds; how long one failure may take without losing the lease
        self._endpoints = Endpoints(location, deadline=min(DEADLINE, third))
        self._backoff = Backoff(initial=0.1, longest=third)
        self._file = LeaseFile(lease_file, ttl, location.prefix, machine)
        self._stopping = threading.Event()
        # set when there is work before the next renewal or check
        self._wake = threading.Event()
        self._lock = threading.Lock()  # of the next two
        self._keys = LeasedKeys()
        self._withdrawing = False
        # the lease that we hold as far as we know, 0: none
        self._lease = 0
        # when to keep it alive, and when to read the keys on it, on the clock of `time.monotonic`
        self._next_renewal = self._next_check = 0.0

    def stop(self) -> None:
        """Have `run` return soon; the lease is left to expire."""
        self._stopping.set()
        self._wake.set()

    def check(self) -> None:
        """Read and repair the keys on the lease as soon as possible."""
        self._next_check = 0.0
        self._wake.set()

    def want(self, path: bytes, value: bytes | None) -> None:
        """Want the key `path` to have this value; None: to be absent."""
        with self._lock:
            self._keys.want(path, value)
        self._wake.set()

    def want_only(self, wanted: Mapping[bytes, bytes]) -> None:
        """Want exactly these keys."""
        with self._lock:
            self._keys.want_only(wanted)
        self._wake.set()

    def withdraw(self) -> None:
        """Delete all keys at once, by revoking the lease; keys wanted later go on a new one."""
        with self._lock:
            self._keys.want_only({})
            self._withdrawing = True
        self._wake.set()

    def run(self) -> None:
        """Keep the keys until `stop`, at one endpoint after the other; then withdraw them if that is still to do."""
        self._lease = self._file.read()
        while not self._stopping.is_set():
            self._try_endpoints(lambda: not self._stopping.is_set())
            self._stopping.wait(self._backoff.next())
        self._try_endpoints(lambda: self._withdrawing)
        self._file.keep()

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
        self._next_renewal = self._next_check = 0.0
        while True:
            self._wake.clear()
            if self._withdrawing:
                self._revoke(client)
            if self._stopping.is_set():
                return
            now = time.monotonic()
            if self._lease and now >= self._next_renewal:
                self._renew(client)
            if self._lease and now >= self._next_check:
                self._read(client)
            if not self._write(client):
                if self._backoff.tries:
                    log.info("etcd %s: reconnected, all keys are published", client.endpoint)
                self._backoff.reset()
                self._file.keep()
                due = min(self._next_renewal, self._next_check) if self._lease else now + CHECK
                self._wake.wait(max(0.0, min(due - now, KEEP_INTERVAL)))

    def _renew(self, client: Client) -> None:
        if client.keep_alive(self._lease):
            self._next_renewal = time.monotonic() + jittered(RENEWAL * self._ttl)
        else:
            log.warning("etcd %s: lease expired or revoked, publishing all keys again", client.endpoint)
            self._drop_lease()

    def _read(self, client: Client) -> None:
        """Read the keys on the lease."""
        found = client.leased(self._lease)
        self._next_check = time.monotonic() + jittered(CHECK)
        with self._lock:
            self._keys.reset_written(found)

    def _write(self, client: Client) -> bool:
        """Take one step towards the wanted keys; return whether there was one."""
        with self._lock:
            step = self._keys.next()
        if step is None:
            return False
        if not self._lease:
            self._grant(client)
        try:
            client.transact(step.puts, step.deletes, self._lease)
        except EtcdError as error:
            if not error.lease_gone:
                raise
            self._drop_lease()
            return True
        with self._lock:
            self._keys.done(step)
        return True

    def _grant(self, client: Client) -> None:
        self._lease = client.grant(self._ttl)
        self._file.write(self._lease)
        now = time.monotonic()
        self._next_renewal, self._next_check = now + RENEWAL * self._ttl, now + CHECK
        log.info("etcd %s: publishing on lease %x, TTL %d seconds", client.endpoint, self._lease, self._ttl)

    def _revoke(self, client: Client) -> None:
        """Delete all keys at once; keys wanted since `withdraw` are written again."""
        if self._lease:
            client.revoke(self._lease)
            log.info("etcd %s: lease %x revoked, published keys withdrawn", client.endpoint, self._lease)
        self._withdrawing = False
        self._drop_lease()

    def _drop_lease(self) -> None:
        self._lease = 0
        self._file.write(0)
        with self._lock:
            self._keys.reset_written()
