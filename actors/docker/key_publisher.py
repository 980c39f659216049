"""KeyPublisher: keys in etcd that exist for as long as this node lives.

How the lease is kept, taken over and repaired: see `clusterf.leases.lease_keeper`.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pykka

from actors.base.threaded_actor import ThreadedActor
from clusterf.etcd.location import EtcdLocation
from clusterf.leases.claims import Claims
from clusterf.leases.lease_file import NO_MACHINE, Machine
from clusterf.leases.lease_keeper import LeaseKeeper

__all__ = ["EngineIs", "Found", "KeyPublisher", "Publish", "PublishOnly", "TellFound"]

log = logging.getLogger(__name__)


class Publish(NamedTuple):
    """Publish `value` under the key `path`, below the prefix; None: remove it."""

    path: bytes
    value: bytes | None


class PublishOnly(NamedTuple):
    """Publish these keys and no others."""

    wanted: Mapping[bytes, bytes]


class Found(NamedTuple):
    """An earlier publisher has published these keys."""

    keys: Mapping[bytes, bytes]


class TellFound(NamedTuple):
    """Send `actor`, once that is known, what was `Found`."""

    actor: "pykka.ActorRef[Any]"


class EngineIs(NamedTuple):
    """What is published is of the containers of the engine with this id."""

    id: str


class KeyPublisher(ThreadedActor):
    """Publish keys below the prefix of `location` while this actor lives, and for `ttl` seconds longer.

    `lease_file` holds the lease for the next publisher on this `machine` to take over; None:
    none does. `claims` are those of this node. An actor that is stopped leaves its keys to the TTL, unless the
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
        claims: Claims | None = None,
    ) -> None:
        super().__init__("etcd lease", patience=None)
        self._leave_nothing = leave_nothing
        # the node is being stopped: nothing is published any more
        self._leaving = False
        self._keeper = LeaseKeeper(
            *(location, ttl, lease_file, machine, lambda keys: self._tell_alive(Found(keys))), claims=claims
        )
        # what was found, and whom to tell
        self._found: Found | None = None
        self._asking: pykka.ActorRef[Any] | None = None

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
            case Found():
                self._found = message
                self._send_found()
            case TellFound(actor):
                self._asking = actor
                self._send_found()
            case EngineIs(engine):
                self._keeper.identify(engine)
            case Publish() | PublishOnly() if self._leaving:
                log.debug("stopping: %r (ignored)", message)
            case Publish():
                self._keeper.want(*message)
            case PublishOnly():
                self._keeper.want_only(*message)
            case _:
                super().receive(message)

    def _send_found(self) -> None:
        if self._found is not None and self._asking is not None:
            with suppress(pykka.ActorDeadError):  # it is stopped first
                self._asking.tell(self._found)
