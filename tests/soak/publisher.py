"""A publisher of backends whose keys are on a lease, in place of a Docker host; it uses the project's LeaseKeeper.

A Docker engine would take most of the guest's one CPU; `tests.soak.hosts` has real ones, beside a guest.
"""

import threading
import time
from typing import Self

import msgspec

from clusterf.etcd.client import Client
from clusterf.leases.lease_keeper import LeaseKeeper
from tests.lab.etcd import EtcdCluster
from tests.soak import plan

__all__ = ["TTL", "Publisher"]

TTL = 30  # seconds: no lease ends while etcd is away for a fault
PATIENCE = 20.0  # seconds until lost keys are back


class Publisher:
    """Keeps the backends of the service that has no other ones."""

    def __init__(self, etcd: EtcdCluster) -> None:
        self._etcd = etcd
        self._keeper = LeaseKeeper(etcd.location(), TTL, None)
        self._thread = threading.Thread(target=self._keeper.run)
        self.objects = plan.published()

    def __enter__(self) -> Self:
        for path, value in self._backends().items():
            self._keeper.want(path, value)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._keeper.stop()
        self._thread.join()

    def _backends(self) -> dict[bytes, bytes]:
        return {path.encode(): msgspec.json.encode(value) for path, value in self.objects.items()}

    def present(self, client: Client) -> bool:
        """Tell whether all keys are there."""
        return self._backends().keys() <= client.paths(0)

    def revoke(self, client: Client) -> None:
        """End the lease, as a lapse of the host would."""
        for lease in self._etcd.ctl("lease", "list").split()[3:]:
            client.revoke(int(lease, 16))

    def check(self) -> None:
        """Have it look at its lease now."""
        self._keeper.check()

    def wait(self, client: Client) -> None:
        """Wait until all keys are there."""
        deadline = time.monotonic() + PATIENCE
        while not self.present(client):
            assert time.monotonic() < deadline, "the publisher does not put its keys back"
            time.sleep(0.02)
