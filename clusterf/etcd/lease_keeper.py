"""Keys in etcd that are there for as long as this node is."""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from clusterf.etcd.channel import EtcdError
from clusterf.etcd.client import Client
from clusterf.etcd.leased_keys import LeasedKeys
from clusterf.etcd.location import EtcdLocation
from clusterf.lib.backoff import Backoff
from clusterf.lib.jitter import jittered, shuffled

__all__ = ["LeaseKeeper"]

log = logging.getLogger(__name__)

CHECK = 30.0  # seconds, about, after which what is on the lease is read again
LONGEST_CALL = 5.0  # seconds that a call may take, where the TTL allows it


class _Lease(msgspec.Struct, frozen=True):
    """A lease as it is kept on disk: only one for the same purpose is taken over."""

    id: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    ttl: int
    prefix: bytes


class LeaseKeeper:
    """Keeps the keys in etcd, in a thread of its own; the others say what is wanted."""

    def __init__(self, location: EtcdLocation, ttl: int, lease_file: Path | None) -> None:
        self._location = location
        self._ttl = ttl
        self._file = lease_file
        self._deadline = min(LONGEST_CALL, max(1.0, ttl / 3))
        self._backoff = Backoff(initial=0.1, longest=max(1.0, ttl / 3))
        self._endpoints = shuffled(location.endpoints)  # so that the nodes of a cluster spread over the members
        self._stopping = threading.Event()
        # set when there is something to do before its time
        self._wake = threading.Event()
        self._lock = threading.Lock()  # of the next two
        self._keys = LeasedKeys()
        self._withdrawing = False
        # the lease that we hold as far as we know, 0: none
        self._lease = 0
        # when it is to be kept alive, and when what is on it is to be read
        self._renewal = self._next_check = 0.0

    def stop(self) -> None:
        """Stop at the next opportunity; the lease is left to run out."""
        self._stopping.set()
        self._wake.set()

    def check(self) -> None:
        """Read what is on the lease as soon as possible."""
        self._next_check = 0.0
        self._wake.set()

    def want(self, path: bytes, value: bytes | None, if_absent: bool) -> None:
        """Want the key `path` to have this value; None: want it removed."""
        with self._lock:
            self._keys.want(path, value, if_absent=if_absent)
        self._wake.set()

    def want_only(self, wanted: Mapping[bytes, bytes], if_absent: Mapping[bytes, bytes]) -> None:
        """Want these keys and no others, those of `if_absent` only where nobody else sets them."""
        with self._lock:
            self._keys.want_only(wanted, if_absent)
        self._wake.set()

    def withdraw(self) -> None:
        """Remove all keys at once."""
        with self._lock:
            self._keys.want_only({})
            self._withdrawing = True
        self._wake.set()

    def run(self) -> None:
        """Keep the keys until told to stop, at one endpoint after the other."""
        self._lease = self._remembered()
        while not self._stopping.is_set():
            for endpoint in self._endpoints:
                self._try(endpoint)
                if self._stopping.is_set():
                    break
            else:
                self._stopping.wait(self._backoff.next())
        for endpoint in self._endpoints:
            if self._withdrawing:
                self._try(endpoint)

    def _try(self, endpoint: str) -> None:
        """Keep the keys by one endpoint for as long as it goes."""
        try:
            with Client(self._location, endpoint, self._deadline) as client:
                self._renewal = self._next_check = 0.0
                self._keep(client)
        except EtcdError as error:
            # said once; the tries that follow are many
            level = logging.DEBUG if self._backoff.tries else logging.WARNING
            log.log(level, "%s; what is published lasts up to %d seconds", error, self._ttl)

    def _keep(self, client: Client) -> None:
        """Do what is due, and wait for the next. Raises EtcdError when it is over."""
        while True:
            self._wake.clear()
            if self._withdrawing:
                self._revoke(client)
            if self._stopping.is_set():
                return
            now = time.monotonic()
            if self._lease and now >= self._renewal:
                self._renew(client)
            if self._lease and now >= self._next_check:
                self._look(client)
            if not self._write(client):
                if self._backoff.tries:
                    log.info("%s: what is to be published is there", client.endpoint)
                self._backoff.reset()
                self._wake.wait(max(0.0, min(self._renewal, self._next_check) - now) if self._lease else CHECK)

    def _renew(self, client: Client) -> None:
        if client.keep_alive(self._lease):
            self._renewal = time.monotonic() + jittered(0.3 * self._ttl)
            self._look_at_taken(client)
        else:
            log.warning("%s: the lease is gone, all keys are published again", client.endpoint)
            self._lose()

    def _look(self, client: Client) -> None:
        """Read what is on the lease."""
        found = client.leased(self._lease)
        self._next_check = time.monotonic() + jittered(CHECK)
        with self._lock:
            self._keys.found(found)

    def _look_at_taken(self, client: Client) -> None:
        """See whether those who have what we would publish have given it up."""
        with self._lock:
            taken = self._keys.taken
        if taken:
            present = client.present(taken)
            with self._lock:
                self._keys.given_up(taken - present)

    def _write(self, client: Client) -> bool:
        """Take one step towards what is wanted; return whether there was one."""
        with self._lock:
            step = self._keys.next()
        if step is None:
            return False
        if not self._lease:
            self._grant(client)
        try:
            refused = client.claim(step.claims, self._lease) if step.claims else set()
            if step.puts or step.deletes:
                client.transact(step.puts, step.deletes, self._lease)
        except EtcdError as error:
            if not error.lease_gone:
                raise
            self._lose()
            return True
        with self._lock:
            self._keys.done(step, refused)
        return True

    def _grant(self, client: Client) -> None:
        self._lease = client.grant(self._ttl)
        self._remember()
        now = time.monotonic()
        self._renewal, self._next_check = now + self._ttl / 3, now + CHECK
        log.info("%s: publishing on lease %x of %d seconds", client.endpoint, self._lease, self._ttl)

    def _revoke(self, client: Client) -> None:
        """Remove all keys at once; what has been told since then is written again."""
        if self._lease:
            client.revoke(self._lease)
            log.info("%s: withdrawn what was published", client.endpoint)
        self._withdrawing = False
        self._lose()

    def _lose(self) -> None:
        self._lease = 0
        self._remember()
        with self._lock:
            self._keys.found({})

    def _remembered(self) -> int:
        if self._file is None:
            return 0
        try:
            lease = msgspec.json.decode(self._file.read_bytes(), type=_Lease)
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, msgspec.DecodeError) as error:
            log.warning("%s: %s; a new lease is used, and the old one runs out", self._file, error)
            return 0
        return lease.id if lease == _Lease(lease.id, self._ttl, self._location.prefix) else 0

    def _remember(self) -> None:
        if self._file is None:
            return
        draft = self._file.with_suffix(".draft")
        try:
            draft.write_bytes(msgspec.json.encode(_Lease(self._lease, self._ttl, self._location.prefix)))
            draft.replace(self._file)
        except OSError as error:
            log.warning("%s: %s; after a restart a new lease is used", self._file, error.strerror)
