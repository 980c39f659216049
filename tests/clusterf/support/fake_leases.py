"""An etcd in memory that knows leases, and clients of it, as `clusterf.leases` uses them."""

from queue import SimpleQueue

from clusterf.etcd.client import Claimed, LeaseTime
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.watch import Event

__all__ = ["FakeClient", "FakeEtcd", "FakeWatch"]


class FakeEtcd:
    """Keys by lease, 0: those of others."""

    def __init__(self):
        self.down: set[str] = set()
        self.leases: dict[int, dict[bytes, bytes]] = {0: {}}
        self.granted = 0
        self.revision = 1
        # when keys were last written, if by `change`
        self.modified: dict[bytes, int] = {}
        self.touched: list[bytes] = []
        # for how long leases live, and were granted for, if that is not `ttl`
        self.times: dict[int, tuple[int, int]] = {}
        self.watches: list[FakeWatch] = []

    @property
    def keys(self):
        return {path: value for keys in list(self.leases.values()) for path, value in list(keys.items())}

    def put(self, path, value, lease=0):
        """Set or delete a key, in a revision of its own."""
        self.change([(path, value)], [], lease) if value is not None else self.change([], [path], None)

    def end(self, lease):
        """End a lease, and with it its keys."""
        gone = self.leases.pop(lease, {})
        self._tell([Event(path, None, 0) for path in gone])

    def change(self, puts, deletes, lease):
        """Set keys on a lease, and delete those that are on it; None: on any."""
        events = []
        for path, value in puts:
            for keys in self.leases.values():
                keys.pop(path, None)
            self.leases[lease][path] = value
            self.modified[path] = self.revision + 1
            events.append(Event(path, value, 0, lease))
        owners = [lease] if lease is not None else list(self.leases)
        gone = [path for path in deletes for owner in owners if self.leases[owner].pop(path, None) is not None]
        events += [Event(path, None, 0) for path in gone]
        self._tell(events)
        return self.revision

    def _tell(self, events):
        if events:
            self.revision += 1
            for watch in self.watches:
                watch.messages.put([event._replace(revision=self.revision) for event in events])


class FakeWatch:
    """The changes from its beginning on."""

    def __init__(self):
        self.messages: SimpleQueue[list[Event] | None] = SimpleQueue()

    def __iter__(self):
        yield from iter(self.messages.get, None)
        raise EtcdError("watch: ended")

    def cancel(self):
        self.messages.put(None)


class FakeClient:
    """A client of `etcd`, at any endpoint that is not down."""

    etcd: FakeEtcd
    ttl = 600

    def __init__(self, location, endpoint, deadline):
        self.endpoint = endpoint

    def __enter__(self):
        self._check()
        return self

    def __exit__(self, *_):
        pass

    def _check(self, lease=0):
        if self.endpoint in self.etcd.down:
            raise EtcdError(f"{self.endpoint}: unavailable")
        if lease not in self.etcd.leases:
            raise EtcdError("lease not found", lease_gone=True)

    def watch(self, revision):
        watch = FakeWatch()
        self.etcd.watches.append(watch)
        return watch

    def revision(self):
        self._check()
        return self.etcd.revision

    def grant(self, ttl):
        self._check()
        self.etcd.granted += 1
        self.etcd.leases[self.etcd.granted] = {}
        return self.etcd.granted

    def keep_alive(self, lease):
        self._check()
        return self.ttl if lease in self.etcd.leases else 0

    def revoke(self, lease):
        self._check()
        self.etcd.end(lease)

    def leased(self, lease):
        self._check()
        return dict(self.etcd.leases.get(lease, {}))

    def claim(self, puts, deletes, lease):
        self._check(lease)
        owners = {path: owner for owner, keys in self.etcd.leases.items() for path in keys}
        looks = {path: (owner, self.etcd.modified.get(path, 1)) for path, owner in owners.items()}
        fine = [
            one
            for one in puts
            if (looks.get(one.path, (0, 0))[1] == one.revision if one.revision else owners.get(one.path, 0) == one.on)
        ]
        refused = {one.path: looks.get(one.path, (0, 0)) for one in puts if one not in fine}
        return Claimed(self.etcd.change([(one.path, one.value) for one in fine], deletes, lease), refused)

    def read(self, paths):
        self._check()
        return {path: value for path, value in self.etcd.keys.items() if path in paths}

    def time_to_live(self, lease):
        self._check()
        return LeaseTime(*self.etcd.times.get(lease, (self.ttl, self.ttl) if lease in self.etcd.leases else (0, 0)))

    def touch(self, path, value, lease):
        self._check(lease)
        self.etcd.touched.append(path)
        return self.etcd.change([(path, value)], [], lease) if path in self.etcd.leases[lease] else 0
