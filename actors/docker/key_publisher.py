"""KeyPublisher: keys in etcd that exist for as long as this node lives.

How the lease is kept, taken over and repaired: see `clusterf.leases.lease_keeper`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from actors.base.threaded_actor import ThreadedActor
from clusterf.etcd.location import EtcdLocation
from clusterf.leases.lease_file import NO_MACHINE, Machine
from clusterf.leases.lease_keeper import LeaseKeeper

__all__ = ["KeyPublisher", "Publish", "PublishOnly"]

log = logging.getLogger(__name__)


class Publish(NamedTuple):
    """Publish `value` under the key `path`, below the prefix; None: remove it."""

    path: bytes
    value: bytes | None


class PublishOnly(NamedTuple):
    """Publish these keys and no others."""

    wanted: Mapping[bytes, bytes]


class KeyPublisher(ThreadedActor):
    """Publish keys below the prefix of `location` while this actor lives, and for `ttl` seconds longer.

    `lease_file` holds the lease for the next publisher on this `machine` to take over; None:
    none does. An actor that is stopped leaves its keys to the TTL, unless the
    node is stopped by its operator and `leave_nothing` is set: then all are
    removed, and every endpoint is tried once for that.
    """

    def __init__(
        self,
        location: EtcdLocation,
        ttl: int,
        lease_file: Path | None,
        *,
        machine: Machine = NO_MACHINE,
        leave_nothing: bool = False,
    ) -> None:
        super().__init__("etcd lease", patience=None)
        self._leave_nothing = leave_nothing
        # the node is being stopped: nothing is published any more
        self._leaving = False
        self._keeper = LeaseKeeper(location, ttl, lease_file, machine)

    def work(self) -> None:
        """Keep the lease, and the keys on it."""
        self._keeper.run()

    def stop_work(self) -> None:
        """Stop, and let the lease expire."""
        self._keeper.stop()

    def reload(self) -> None:
        """Compare the keys in etcd with those to be published now."""
        self._keeper.check()

    def leave(self) -> None:
        """Remove all keys, if `leave_nothing` is set."""
        if self._leave_nothing:
            self._leaving = True
            self._keeper.withdraw()

    def receive(self, message: Any) -> None:
        """Take in what to publish; the worker thread writes it."""
        match message:
            case Publish() | PublishOnly() if self._leaving:
                log.debug("stopping: %r (ignored)", message)
            case Publish():
                self._keeper.want(*message)
            case PublishOnly():
                self._keeper.want_only(*message)
            case _:
                super().receive(message)
