"""KeyPublisher: keys in etcd that are there for as long as this node is.

All keys hang on one lease. It is kept alive three times within its TTL; a node
that dies takes its keys along when the TTL is over. On any trouble (etcd does
not answer, a token has expired) the connection is dropped and the next
endpoint taken, for ever; then what is on the lease is read, and made equal to
what is wanted. So it is at an interval too, which mends what others did to our
keys. A lease that is gone (it ran out, was revoked, etcd was restored from
nothing) is replaced by a new one, and everything written again.

The id of the lease is kept on disk. Who starts again within the TTL goes on
with that lease, so that no key is ever absent. What hangs on it and is not
wanted any more goes when the whole set has been told, not before.

Which keys are ours, and what happens to those of others: see `clusterf.leased`.
Whether a key is still there that somebody else has, and that we would set if he
had not, is asked whenever the lease is kept alive.
"""

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import pykka

from actors.base import Actor
from clusterf.backoff import Backoff
from clusterf.etcd import Client, EtcdError
from clusterf.jitter import jittered, shuffled
from clusterf.leased import NOTHING, LeasedSet
from clusterf.location import Location

__all__ = ["KeyPublisher", "Publish", "PublishOnly", "Withdraw"]

log = logging.getLogger(__name__)

CHECK = 30.0  # seconds, about, after which what is on the lease is read again
LONGEST_CALL = 5.0  # seconds that a call may take, where the TTL allows it


class Publish(NamedTuple):
    """The key `path`, below the prefix, has this value; None: it is not to be there.

    `if_absent`: only where nobody else sets it. What somebody else has set is
    neither overwritten nor removed; when it goes, ours comes.
    """

    path: bytes
    value: bytes | None
    if_absent: bool = False


class PublishOnly(NamedTuple):
    """These keys, and no others, are to be there; those of `if_absent` only where nobody else sets them."""

    wanted: Mapping[bytes, bytes]
    if_absent: Mapping[bytes, bytes] = NOTHING


class Withdraw(NamedTuple):
    """All keys are to go, now. What is told later is published on a new lease."""


class KeyPublisher(Actor):
    """Keep what is told published below the prefix of `location`, while this actor lives and `ttl` seconds longer.

    `lease_file` holds the lease for the next one to take over; None: nobody
    does. An actor that is stopped leaves its keys alone, unless it was told
    `Withdraw`, which it then tries at every endpoint once more. With
    `leave_nothing` it does so when the operator stops the node.
    """

    def __init__(self, location: Location, ttl: int, lease_file: Path | None, *, leave_nothing: bool = False) -> None:
        super().__init__()
        self._leave_nothing = leave_nothing
        # whether what is told does not count any more
        self._leaving = False
        self._keeper = _Keeper(location, ttl, lease_file)
        self._thread = threading.Thread(target=self._run, name="etcd lease")

    def on_start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def on_stop(self) -> None:
        """Stop, and leave the lease to run out."""
        self._keeper.stop()
        self._thread.join()

    def reload(self) -> None:
        """Look at once whether what is there is what is wanted."""
        self._keeper.check()

    def leave(self) -> None:
        """Withdraw all, if that is to be done."""
        if self._leave_nothing:
            self._leaving = True
            self._keeper.withdraw()

    def receive(self, message: Any) -> None:
        """Take in what is wanted; it is written by the thread."""
        match message:
            case Publish() | PublishOnly() if self._leaving:
                log.debug("leaving: %r does not count", message)
            case Publish():
                self._keeper.want(*message)
            case PublishOnly():
                self._keeper.want_only(*message)
            case Withdraw():
                self._keeper.withdraw()
            case _Crashed():
                raise message.error
            case _:
                raise TypeError(f"KeyPublisher does not handle {message!r}")

    def _run(self) -> None:
        try:
            self._keeper.run()
        except Exception as error:  # noqa: BLE001
            # raised again by the actor, where it is noticed
            with suppress(pykka.ActorDeadError):
                self.actor_ref.tell(_Crashed(error))


class _Crashed:
    def __init__(self, error: Exception) -> None:
        self.error = error


class _Lease(msgspec.Struct, frozen=True):
    """A lease as it is kept on disk: only one for the same purpose is taken over."""

    id: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    ttl: int
    prefix: bytes


class _Keeper:
    """Keeps the keys in etcd, in a thread of its own; the others say what is wanted."""

    def __init__(self, location: Location, ttl: int, lease_file: Path | None) -> None:
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
        self._keys = LeasedSet()
        self._withdrawing = False
        # the lease that we hold as far as we know, 0: none
        self._lease = 0
        # when it is to be kept alive, and when what is on it is to be read
        self._renewal = self._next_check = 0.0

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def check(self) -> None:
        self._next_check = 0.0
        self._wake.set()

    def want(self, path: bytes, value: bytes | None, if_absent: bool) -> None:
        with self._lock:
            self._keys.want(path, value, if_absent=if_absent)
        self._wake.set()

    def want_only(self, wanted: Mapping[bytes, bytes], if_absent: Mapping[bytes, bytes]) -> None:
        with self._lock:
            self._keys.want_only(wanted, if_absent)
        self._wake.set()

    def withdraw(self) -> None:
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
