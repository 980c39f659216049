"""Writing keys that other nodes may have, too, by one connection to etcd.

A key is put only if it is on our lease, on none, or absent. Who else has it, and whether that one still keeps
its lease alive, decides what becomes of ours: see `clusterf.leases.claims`.
"""

import logging
import time

from clusterf.etcd.client import Client, Put
from clusterf.leases.claims import Rival
from clusterf.leases.holding import Holding
from clusterf.leases.leased_keys import Transaction
from clusterf.lib.text import escape, printable

__all__ = ["LOOK", "Claimant"]

log = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks at leases that we wait for, which have at least 1.3 left when they are late
_ASKED = 20  # leases of other nodes, at once
_LONGEST = 300  # characters of a name


class Claimant:
    """Writes the keys of `holding` by `client`, as far as others leave them to it; all methods raise EtcdError."""

    def __init__(self, client: Client, holding: Holding) -> None:
        self._client = client
        self._holding = holding
        self._claims = holding.claims
        # when to ask for the leases that we wait for, on the clock of `time.monotonic`
        self.next_look = 0.0
        # since when they have been seen
        self._seen: dict[int, float] = {}
        # those of nodes with our name, which are not our own of an earlier run
        self._namesakes: set[int] = set()
        # those that nobody kept alive at the last look
        self._late: set[int] = set()

    def write(self, step: Transaction) -> dict[bytes, int]:
        """Write what is not on the lease of another node; return the revision of each key that was put."""
        lease, keys = self._holding.lease, self._holding.keys
        with self._holding.lock:
            over = self._claims.over
            puts = [Put(p, v, lease if keys.is_written(p) else 0, over.get(p, 0)) for p, v in step.puts]
        # a key that is refused may be wanted under another name, which is surplus until then
        deletes = step.deletes if all(put.on for put in puts) else []
        claimed = self._client.claim(puts, deletes, lease)
        rivals = [path for path, (owner, _) in claimed.refused.items() if owner not in {0, lease}]
        values = self._client.read(rivals) if rivals else {}
        done = [(path, value) for path, value in step.puts if path not in claimed.refused]
        with self._holding.lock:
            keys.done(Transaction(done, deletes))
            for path, _ in done:
                self._claims.done(path)
            for path, (owner, revision) in claimed.refused.items():
                self._claims.over.pop(path, None)
                if owner == lease:
                    keys.found(path)
                elif path in values:
                    self._refused(path, owner, revision, values[path])
                else:
                    keys.lost(path)
        return {path: claimed.revision for path, _ in done}

    def look(self) -> None:
        """Have keys written over whose lease is not kept alive, and report for whom we stand by, if that has changed.

        To be called when all is written.
        """
        now = time.monotonic()
        if now >= self.next_look or self._claims.has_freed:
            self.next_look = now + LOOK
            self._report_ended()
            leases = [*self._claims.rivals, *self._claims.reported.values()]
            self._seen = {lease: self._seen.get(lease, now) for lease in leases}
            self._namesakes &= self._seen.keys()
            self._late = {lease for lease in list(self._seen)[:_ASKED] if not self._lives(lease, now)}
            with self._holding.lock:
                for lease in self._late:
                    self._claims.late(lease)
                self._claims.retry()
        self._report()

    @property
    def is_waiting(self) -> bool:
        """Whether `look` is to be called at `next_look`."""
        return bool(self._claims.rivals or self._claims.reported)

    def _lives(self, lease: int, now: float) -> bool:
        """Tell whether its owner keeps a lease alive."""
        left, granted = self._client.time_to_live(lease)
        if now - self._seen[lease] > granted:
            self._namesakes.add(lease)
        return 3 * left > granted

    def _refused(self, path: bytes, owner: int, revision: int, value: bytes) -> None:
        own = self._claims.refused(path, Rival(owner, revision, value))
        if own is not None:
            what = "etcd %s: %s is another node's route to the same network: publishing ours as %s"
            log.warning(what, self._client.endpoint, escape(path), escape(own))

    def _report(self) -> None:
        with self._holding.lock:
            publishers = self._claims.publishers(self._namesakes)
        for name in publishers.keys() - self._claims.reported.keys():
            log.warning(
                "etcd %s: containers of ours are published by %s: it is on the same engine, or on a copy of it;"
                " standing by for these until it ends",
                *(self._client.endpoint, self._node(name)),
            )
        self._claims.reported |= publishers

    def _report_ended(self) -> None:
        """Report whose leases were late the last time, if they have no others by now."""
        with self._holding.lock:
            publishers = self._claims.publishers(self._namesakes)
        self._claims.reported |= {name: publishers[name] for name in publishers.keys() & self._claims.reported}
        for name, lease in list(self._claims.reported.items()):
            if lease in self._late:
                del self._claims.reported[name]
                log.info("etcd %s: no longer standing by for %s", self._client.endpoint, self._node(name))

    def _node(self, name: str) -> str:
        return "another node with our name" if name == self._claims.publisher else f"node {printable(name, _LONGEST)}"
