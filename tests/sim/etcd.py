"""A simulated etcd: revisions, transactions, watches, leases, compaction, partitions, restores, other clusters.

`Client`, `Endpoints` and `WatchReader` have the interfaces of the real ones in `clusterf.etcd`,
so that the real follower runs on them, in a fiber.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from clusterf.etcd.client import Claimed, KeyListing, KeyValue, LeaseTime, Put
from clusterf.etcd.endpoints import EndpointFailure
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.watch import Event
from tests.sim import fibers
from tests.sim.leases import Lessor
from tests.sim.simulation import Simulation

__all__ = ["Client", "Endpoints", "Etcd", "WatchReader"]

DELAY = 0.003  # seconds to or from etcd, on average
DEADLINE = 5.0
SILENCE = 10.0
PAUSE = 1.0  # seconds without events after which a follower looks at its other duties


class Etcd:
    """The cluster behind one name. Nodes in `cut` do not reach it."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.contents: dict[bytes, bytes] = {}
        self.revision = 1
        self.cluster = 1
        self.compacted = 0
        self.is_down = False
        # it answers nothing, and does nothing, but time passes
        self.is_frozen = False
        self.cut: set[str] = set()
        self.lessor = Lessor(self)
        self._history: deque[Event] = deque(maxlen=2000)
        # when each key was written last
        self.written: dict[bytes, int] = {}
        # the keys at each revision
        self._past: dict[int, frozenset[bytes]] = {1: frozenset()}
        self._watches: list[WatchReader] = []
        # what the cluster was before it was replaced or restored: contents, revision and cluster id
        self.before: tuple[dict[bytes, bytes], int, int] | None = None

    def transact(self, changes: Mapping[bytes, bytes | None], lease: int = 0) -> None:
        """Set keys, on a lease if one is given, or with None delete them, in one transaction."""
        if self.is_down:
            return
        self.lessor.attach(changes, lease)
        self.revision += 1
        events = []
        for path, value in changes.items():
            if value is not None:
                self.contents[path] = value
                self.written[path] = self.revision
            elif self.contents.pop(path, None) is None:
                continue
            events.append(Event(path, value, self.revision, lease if value is not None else 0))
        self._history.extend(events)
        self._past[self.revision] = frozenset(self.contents)
        for watch in list(self._watches):
            watch.send(events)

    def compact(self) -> None:
        """Forget all history, and close all watches."""
        self.compacted = self.revision
        self._past = {self.revision: frozenset(self.contents)}
        self._history.clear()
        self.close_watches("leader changed")

    def close_watches(self, reason: str) -> None:
        """Close all watches with an error."""
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.send(EtcdError(reason))

    def replace(self, contents: Mapping[bytes, bytes], revision: int, cluster: int) -> None:
        """Be another cluster, or the same at an earlier time; `return_to_before` undoes this."""
        self.before = self.before or (dict(self.contents), self.revision, self.cluster)
        self._become(contents, revision, cluster)

    def return_to_before(self) -> None:
        """Be again what the cluster was before it was replaced."""
        if self.before is not None:
            self._become(*self.before)
            self.before = None

    def reachable(self, node: str) -> bool:
        """Tell whether the node reaches the cluster."""
        return not self.is_down and not self.is_frozen and node not in self.cut

    def since(self, revision: int) -> list[Event]:
        """Return the events from `revision` on. Raises EtcdError."""
        if revision <= self.compacted:
            raise EtcdError("watch: revision compacted", compacted=True)
        return [event for event in self._history if event.revision >= revision]

    def paths(self, revision: int) -> set[bytes]:
        """Return the keys that there were at a revision. Raises EtcdError."""
        if revision not in self._past:
            raise EtcdError("compacted or yet to come", compacted=revision < self.revision)
        return set(self._past[revision])

    def add_watch(self, watch: "WatchReader") -> None:
        """Have a watch receive what changes from now on."""
        self._watches.append(watch)

    def remove_watch(self, watch: "WatchReader") -> None:
        """Forget a watch."""
        if watch in self._watches:
            self._watches.remove(watch)

    def _become(self, contents: Mapping[bytes, bytes], revision: int, cluster: int) -> None:
        self.contents, self.revision, self.cluster = dict(contents), revision, cluster
        self.compacted = revision - 1
        self._past = {revision: frozenset(contents)}
        self._history.clear()
        self.close_watches("unavailable: transport is closing")


class Client:
    """A client in the present process."""

    def __init__(self, etcd: Etcd, node: str, endpoint: str, deadline: float = DEADLINE) -> None:
        self._etcd = etcd
        self._node = node
        self._deadline = deadline
        self.endpoint = endpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing."""

    def list(self) -> KeyListing:
        """Return all keys, at one revision."""
        self._call()
        items = [KeyValue(*item) for item in sorted(self._etcd.contents.items())]
        listed: Any = KeyListing
        known = {
            "items": items,
            "revision": self._etcd.revision,
            "cluster": self._etcd.cluster,
            "leases": self._etcd.lessor.by_path(),
        }
        listing: KeyListing = listed(*(known[name] for name in listed._fields))
        fibers.sleep(self._delay())  # the answer is under way
        return listing

    def paths(self, revision: int) -> set[bytes]:
        """Return the keys that there were at a revision."""
        self._call()
        return self._etcd.paths(revision)

    def watch(self, revision: int) -> "Watch":
        """Return a watch."""
        return Watch(self._etcd, self._node, revision)

    def time_to_live(self, lease: int) -> LeaseTime:
        """Return for how long a lease lives on."""
        self._call()
        return self._etcd.lessor.time_to_live(lease)

    def touch(self, path: bytes, value: bytes, lease: int) -> int:
        """Set a key if it is attached to the lease; return the revision, 0: it is not."""
        self._call()
        if self._etcd.lessor.attached(path) != lease:
            return 0
        self._etcd.lessor.write(self._node, [(path, value)], (), lease)
        return self._etcd.revision

    def claim(self, puts: Sequence[Put], deletes: Sequence[bytes], lease: int) -> Claimed:
        """Set keys on the lease, each on its condition, and delete those attached to it."""
        self._call()
        fine, refused = [], {}
        for one in puts:
            revision = self._etcd.written.get(one.path, 1) if one.path in self._etcd.contents else 0
            owner = self._etcd.lessor.attached(one.path)
            if revision == one.revision if one.revision else owner == one.on:
                fine.append((one.path, one.value))
            else:
                refused[one.path] = (owner, revision)
        self._etcd.lessor.write(self._node, fine, deletes, lease)
        revision = self._etcd.revision
        fibers.sleep(self._delay())
        return Claimed(revision, refused)

    def read(self, paths: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return those of the keys that exist."""
        self._call()
        found = {path: self._etcd.contents[path] for path in paths if path in self._etcd.contents}
        fibers.sleep(self._delay())
        return found

    def revision(self) -> int:
        """Return the present revision."""
        self._call()
        return self._etcd.revision

    def transact(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], lease: int = 0) -> int:
        """Set and delete keys in one transaction, with a lease only those that are attached to it."""
        self._call()
        self._etcd.lessor.write(self._node, puts, deletes, lease)
        revision = self._etcd.revision
        fibers.sleep(self._delay())
        return revision

    def grant(self, ttl: int) -> int:
        """Return a new lease."""
        self._call()
        return self._etcd.lessor.grant(self._node, ttl)

    def keep_alive(self, lease: int) -> int:
        """Renew a lease; return its TTL, 0 if it is gone."""
        self._call()
        return self._etcd.lessor.keep_alive(lease)

    def revoke(self, lease: int) -> None:
        """End a lease."""
        self._call()
        self._etcd.lessor.end(lease, "revoked by its node")

    def leased(self, lease: int) -> dict[bytes, bytes]:
        """Return the keys on a lease."""
        self._call()
        found = self._etcd.lessor.keys(lease)
        fibers.sleep(self._delay())
        return found

    def _call(self) -> None:
        fibers.sleep(self._delay())
        if self._etcd.is_down:
            raise EtcdError(f"{self.endpoint}: unavailable: connection refused")
        if not self._etcd.reachable(self._node):
            fibers.sleep(self._deadline)
            raise EtcdError(f"{self.endpoint}: deadline_exceeded")

    def _delay(self) -> float:
        return self._etcd.simulation.random.random() * 2 * DELAY


class Endpoints:
    """The endpoints of the cluster, as one node reaches them."""

    def __init__(self, etcd: Etcd, node: str, deadline: float = DEADLINE) -> None:
        self._etcd = etcd
        self._node = node
        self._deadline = deadline

    def connect(self, endpoint: str) -> Client:
        """Return a client."""
        return Client(self._etcd, self._node, endpoint, self._deadline)

    def use(self, act: Callable[[Client], object], wanted: Callable[[], bool]) -> Iterator[EndpointFailure]:
        """Call `act` with a client of one endpoint after the other."""
        for endpoint in ("a:2379", "b:2379"):
            if not wanted():
                return
            try:
                with self.connect(endpoint) as client:
                    act(client)
            except EtcdError as error:
                yield EndpointFailure(endpoint, error)


class Watch:
    """A watch from a revision on, that is read by WatchReader, or by the fiber that iterates it."""

    def __init__(self, etcd: Etcd, node: str, revision: int) -> None:
        self.etcd = etcd
        self.node = node
        self.revision = revision
        self._reader: WatchReader | None = None
        self._is_cancelled = False

    def __iter__(self) -> Iterator[list[Event]]:
        """Yield events as they arrive, until an EtcdError."""
        if self._is_cancelled:
            raise EtcdError("watch: cancelled")
        self._reader = reader = WatchReader(self)
        while True:
            if events := list(reader.events()):
                yield events
            reader.check()

    def cancel(self) -> None:
        """End the iteration."""
        self._is_cancelled = True
        if self._reader is not None:
            self._reader.cancel()


class WatchReader:
    """A watch, with its events as they arrive."""

    def __init__(self, watch: "Watch") -> None:
        self._etcd, self._node, revision = watch.etcd, watch.node, watch.revision
        self._simulation = self._etcd.simulation
        self._arrived: deque[list[Event] | EtcdError] = deque()
        self._last_sent = 0.0
        self._heard = self._simulation.now
        self._error: EtcdError | None = None
        self._fiber = fibers.present()
        # the process that reads; it also keeps what arrives from a process that is gone
        current = self._simulation.current
        assert current is not None
        self._process = current
        self._asleep = False
        self._lost = False
        try:
            events = self._etcd.since(revision)
        except EtcdError as error:
            self.send(error)
        else:
            if events:
                self.send(events)
            self._etcd.add_watch(self)

    def send(self, message: list[Event] | EtcdError) -> None:
        """Have a message arrive, after those that were sent before."""
        if not self._etcd.reachable(self._node) and not isinstance(message, EtcdError):
            self._etcd.remove_watch(self)
            self._lost = True  # silence will show it
            return
        at = max(self._last_sent, self._simulation.now + self._simulation.random.random() * 2 * DELAY)
        self._last_sent = at
        self._process.later(at - self._simulation.now, lambda: self._arrive(message))

    def events(self) -> Iterator[Event]:
        """Wait for events, and yield those that have arrived."""
        if not self._arrived:
            self._asleep = True
            self._fiber.sleep(PAUSE)
            self._asleep = False
        if self._etcd.reachable(self._node) and not self._lost:
            self._heard = self._simulation.now
        while self._arrived:
            message = self._arrived.popleft()
            if isinstance(message, EtcdError):
                self._error = message
                return
            yield from message

    def check(self) -> None:
        """Raise EtcdError if the watch has ended, or is silent."""
        if self._error is not None:
            raise self._error
        if self._simulation.now - self._heard >= SILENCE:
            raise EtcdError("watch: timed out: no progress notification")

    @property
    def heard(self) -> float:
        """The last moment of which all events have arrived."""
        return self._heard

    def close(self) -> None:
        """End the watch."""
        self._etcd.remove_watch(self)

    def cancel(self) -> None:
        """End the watch with an error."""
        self.close()
        self._error = EtcdError("watch: cancelled")
        self._fiber.wake_soon()

    def _arrive(self, message: list[Event] | EtcdError) -> None:
        self._arrived.append(message)
        if self._asleep:
            self._fiber.wake()
