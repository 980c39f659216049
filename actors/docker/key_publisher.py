"""KeyPublisher: keys in etcd that exist for as long as this node lives.

How the lease is kept, taken over and repaired: see `clusterf.etcd.lease_keeper`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from actors.base.threaded_actor import ThreadedActor
from clusterf.etcd.lease_keeper import LeaseKeeper
from clusterf.etcd.leased_keys import NOTHING
from clusterf.etcd.location import EtcdLocation

__all__ = ["KeyPublisher", "Publish", "PublishOnly", "Withdraw"]

log = logging.getLogger(__name__)


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


class KeyPublisher(ThreadedActor):
    """Keep what is told published below the prefix of `location`, while this actor lives and `ttl` seconds longer.

    `lease_file` holds the lease for the next one to take over; None: nobody
    does. An actor that is stopped leaves its keys alone, unless it was told
    `Withdraw`, which it then tries at every endpoint once more. With
    `leave_nothing` it does so when the operator stops the node.
    """

    def __init__(
        self, location: EtcdLocation, ttl: int, lease_file: Path | None, *, leave_nothing: bool = False
    ) -> None:
        super().__init__("etcd lease", patience=None)
        self._leave_nothing = leave_nothing
        # whether what is told does not count any more
        self._leaving = False
        self._keeper = LeaseKeeper(location, ttl, lease_file)

    def work(self) -> None:
        """Publish."""
        self._keeper.run()

    def stop_work(self) -> None:
        """Stop, and leave the lease to run out."""
        self._keeper.stop()

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
            case _:
                super().receive(message)
