"""An etcd in memory that does at once, and reliably, what a real one does rarely; and a follower of it."""

import threading
from contextlib import contextmanager
from queue import SimpleQueue

from clusterf.etcd.client import KeyListing, KeyValue, LeaseTime
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdLocation
from clusterf.etcd.watch import Event
from clusterf.lib.backoff import Backoff
from clusterf.lib.mapping import put
from clusterf.sources.doubt import SourceDoubt
from clusterf.sources.etcd_follower import EtcdFollower
from tests.waiting import wait_until

__all__ = [
    "LOCATION",
    "URL",
    "FakeClient",
    "FakeEtcd",
    "FakeWatch",
    "View",
    "following",
    "path",
    "settle",
    "wait_for_watch",
    "weight",
    "weights",
]

URL = "etcd://a,b/clusterf"
LOCATION = EtcdLocation(endpoints=("a:2379", "b:2379"), prefix=b"/clusterf/")


class FakeEtcd:
    """Keys with a history. Lists fail at the endpoints in `down`, and the next `refusals` lists at any endpoint."""

    def __init__(self):
        self.contents: dict[bytes, bytes] = {}
        # the leases that there are, and which of them each key is on
        self.times: dict[int, LeaseTime] = {}
        self.leases: dict[bytes, int] = {}
        self.history: list[Event] = []
        # what it had before its history
        self.restored: dict[bytes, bytes] = {}
        self.cluster = 7
        self.revision = 1
        self.compacted = 0
        self.refusals = 0
        self.down: set[str] = set()
        self.replies = True
        self.requested = 0
        self.lists: list[str] = []
        self.watched_from: list[int] = []
        self.watches: list[FakeWatch] = []
        self._lock = threading.Lock()

    def change(self, path, value, *, times=1, lease=0):
        """Put a value, on a lease, or with None delete it; each watch receives the event `times` times."""
        with self._lock:
            self._change({path: value}, times, lease)

    def grant(self, ttl=10):
        """Return a new lease, which is kept alive."""
        lease = 99 + len(self.times)
        self.times[lease] = LeaseTime(ttl, ttl)
        return lease

    def end(self, *leases, times=1):
        """End leases, one after the other, with all their keys."""
        with self._lock:
            for lease in leases:
                self.times[lease] = LeaseTime(0, 0)
                paths = [path for path, at in self.leases.items() if at == lease]
                self._change(dict.fromkeys(paths), times)

    def time_to_live(self, lease):
        return self.times[lease]

    def _change(self, values, times, lease=0):
        self.revision += 1
        for path, value in values.items():
            put(self.contents, path, value)
            put(self.leases, path, lease or None)
            self.history.append(Event(path, value, self.revision, lease))
        for watch in self.watches * times:
            watch.send(self.history[-len(values) :])

    def send(self, message):
        """Send a message to all watches; an error ends them."""
        with self._lock:
            for watch in self.watches:
                watch.send(message)
            if isinstance(message, EtcdError):
                self.watches.clear()

    def list(self, endpoint):
        with self._lock:
            self.lists.append(endpoint)
            if endpoint in self.down:
                raise EtcdError(f"{endpoint}: refused")
            if self.refusals:
                self.refusals -= 1
                raise EtcdError(f"{endpoint}: refused")
            items = [KeyValue(*item) for item in self.contents.items()]
            return KeyListing(items, self.revision, self.cluster, dict(self.leases))

    def paths(self, revision):
        with self._lock:
            if revision <= self.compacted:
                raise EtcdError("revision compacted", compacted=True)
            paths = dict(self.restored)
            for event in self.history:
                if event.revision <= revision:
                    paths[event.path] = event.value
            return {path for path, value in paths.items() if value is not None}

    def restore(self, contents, revision, cluster=7):
        """Become another etcd, with these keys, and end all watches."""
        self.contents, self.restored, self.history = dict(contents), dict(contents), []
        self.cluster, self.revision = cluster, revision
        self.send(EtcdError("broken"))

    def watch(self, revision):
        with self._lock:
            watch = FakeWatch(self)
            self.watched_from.append(revision)
            watch.send([])
            if revision <= self.compacted:
                watch.send(EtcdError("watch: revision compacted", compacted=True))
                return watch
            for event in self.history:
                if event.revision >= revision:
                    watch.send([event])
            self.watches.append(watch)
            return watch


class FakeWatch:
    """A watch that delivers what it is sent, until an error."""

    def __init__(self, etcd):
        self._etcd = etcd
        self._messages: SimpleQueue[list[Event] | EtcdError] = SimpleQueue()
        self.send = self._messages.put

    def __iter__(self):
        while not isinstance(message := self._messages.get(), EtcdError):
            yield message
        raise message

    def request_progress(self):
        self._etcd.requested += 1
        if self._etcd.replies:
            self.send([])

    def cancel(self):
        self.send(EtcdError("cancelled"))


class FakeClient:
    """A client of `etcd`, whatever the endpoint."""

    etcd: FakeEtcd

    def __init__(self, location, endpoint, deadline):
        self.endpoint = endpoint
        self.watch = self.etcd.watch
        self.paths = self.etcd.paths
        self.time_to_live = self.etcd.time_to_live

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def list(self):
        return self.etcd.list(self.endpoint)


class View:
    """A receiver of updates: the weights in force by path, and the paths that were deleted at some time."""

    def __init__(self):
        self.weights: dict[bytes, int] = {}
        self.deleted: list[bytes] = []
        self.synced: list[set[bytes]] = []
        # the doubts that were reported, and None where one ended
        self.doubts: list[str | None] = []
        self.changed = threading.Condition()

    def receive(self, updates, synced):
        with self.changed:
            for update in updates:
                if isinstance(update, SourceDoubt):
                    self.doubts.append(update.reason)
                elif update.value is not None:
                    self.weights[update.path] = update.value.weight
                elif not update.unchanged:
                    self.deleted.append(update.path)
                    self.weights.pop(update.path, None)
            if synced:
                self.synced.append(set(self.weights))
            self.changed.notify_all()

    def wait_for_sync(self):
        """Wait until the first snapshot is complete."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.synced, 5)

    def wait_for(self, etcd):
        """Wait until it is what `etcd` has."""
        with self.changed:
            same = self.changed.wait_for(lambda: self.synced and self.weights == weights(etcd), 5)
            assert same, (self.synced, self.weights, weights(etcd))


def path(number):
    return b"services/web/backends/%d" % number


def weight(number):
    return b'{"weight": %d}' % number


def weights(etcd):
    return {path: int(value.split()[1][:-1]) for path, value in etcd.contents.items()}


@contextmanager
def following(etcd, state_file=None, *, backoff=None, interval=300.0):
    """Follow `etcd` in a thread; yield the follower and a view that receives its updates."""
    view = View()
    follower = EtcdFollower(URL, LOCATION, state_file, interval, view.receive)
    follower._backoff = backoff or Backoff(0.0001, 0.001)
    thread = threading.Thread(target=follower.run)
    thread.start()
    try:
        yield follower, view
    finally:
        follower.stop()
        etcd.send([])  # wakes it
        thread.join(5)
        etcd.watches.clear()
        assert not thread.is_alive()
        assert not [other for other in threading.enumerate() if other.name == "etcd watch"]


def settle(etcd, follower, view):
    """Have the follower list everything, and wait for the result."""
    etcd.refusals = 0
    follower.reload()
    etcd.send([])
    view.wait_for(etcd)


def wait_for_watch(etcd):
    """Wait until the follower watches."""
    wait_until(lambda: etcd.watches)
