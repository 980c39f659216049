"""The leases of the simulated etcd, as etcd has them: keys hang on them, and end with them, in one revision for each.

Time passes for a lease while etcd is frozen, so that all may end at once when it goes on; one that
was down gives all of them their whole time again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clusterf.etcd.client import LeaseTime
from clusterf.etcd.errors import EtcdError

if TYPE_CHECKING:
    from tests.sim.etcd import Etcd

__all__ = ["Lease", "Lessor"]

TICK = 0.5  # seconds between two looks for leases that have expired

Watcher = Callable[[Mapping[bytes, bytes | None], str, str], None]
"""Takes changes before they are made, the node whose lease it is or that writes them, and why: empty for a write."""


@dataclass
class Lease:
    """A lease of the node `owner`, until `expires`."""

    number: int
    owner: str
    ttl: int
    expires: float
    keys: set[bytes] = field(default_factory=set)


class Lessor:
    """All leases of an etcd. `watcher` sees what is written by publishers, and what ends with leases."""

    def __init__(self, etcd: "Etcd") -> None:
        self._etcd = etcd
        self.leases: dict[int, Lease] = {}
        self.watcher: Watcher = lambda *_: None
        self._numbers = 0x1000
        self._ticking = self._was_down = False

    def attached(self, path: bytes) -> int:
        """Return the lease that a key hangs on, 0: none."""
        return next((number for number, lease in self.leases.items() if path in lease.keys), 0)

    def by_path(self) -> dict[bytes, int]:
        """Return the lease of each key that hangs on one."""
        return {path: number for number, lease in self.leases.items() for path in lease.keys}

    def time_to_live(self, lease: int) -> LeaseTime:
        """Return for how long a lease lives on."""
        found = self.leases.get(lease)
        if found is None:
            return LeaseTime(0, 0)
        return LeaseTime(max(0, int(found.expires - self._etcd.simulation.now)), found.ttl)

    def attach(self, changes: Mapping[bytes, bytes | None], lease: int) -> None:
        """Note that these keys are about to be set on a lease, or with None deleted."""
        for path, value in changes.items():
            for other in self.leases.values():
                other.keys.discard(path)
            if lease and value is not None:
                self.leases[lease].keys.add(path)

    def write(self, node: str, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], lease: int) -> None:
        """Do a transaction of a publisher. Raises EtcdError if the lease is gone."""
        if puts and lease not in self.leases:
            raise EtcdError("not_found: requested lease not found", lease_gone=True)
        changes: dict[bytes, bytes | None] = dict(puts)
        changes |= {path: None for path in deletes if not lease or self.attached(path) == lease}
        if changes:
            self.watcher(changes, node, "")
            self._etcd.transact(changes, lease)

    def grant(self, node: str, ttl: int) -> int:
        """Return a new lease."""
        self._numbers += 1
        self.leases[self._numbers] = Lease(self._numbers, node, ttl, self._etcd.simulation.now + ttl)
        if not self._ticking:
            self._ticking = True
            self._etcd.simulation.after(TICK, self._tick)
        return self._numbers

    def keep_alive(self, lease: int) -> int:
        """Give a lease its whole time again; return it, 0 if the lease is gone."""
        if (found := self.leases.get(lease)) is None:
            return 0
        found.expires = self._etcd.simulation.now + found.ttl
        return found.ttl

    def keys(self, lease: int) -> dict[bytes, bytes]:
        """Return the keys on a lease and their values."""
        found = self.leases.get(lease)
        return {path: self._etcd.contents[path] for path in sorted(found.keys)} if found is not None else {}

    def end(self, lease: int, why: str) -> None:
        """End a lease, and delete its keys."""
        if (found := self.leases.get(lease)) is not None:
            changes: dict[bytes, bytes | None] = dict.fromkeys(sorted(found.keys))
            del self.leases[lease]
            if changes:
                self.watcher(changes, found.owner, why)
                self._etcd.transact(changes)

    def expire(self) -> None:
        """End the leases whose time is over."""
        for lease in list(self.leases.values()):
            if lease.expires <= self._etcd.simulation.now:
                self.end(lease.number, "expired")

    def _tick(self) -> None:
        if self._etcd.is_down:
            self._was_down = True
        elif not self._etcd.is_frozen:
            if self._was_down:
                self._was_down = False
                for lease in self.leases.values():
                    lease.expires = self._etcd.simulation.now + lease.ttl
            self.expire()
        self._etcd.simulation.after(TICK, self._tick)
