"""EtcdWatcher: follows a prefix in etcd."""

from pathlib import Path
from typing import Any

import pykka

from actors.config.source_watcher import SourceWatcher
from clusterf.etcd.location import EtcdLocation
from clusterf.sources.etcd_follower import EtcdFollower

__all__ = ["EtcdWatcher"]


class EtcdWatcher(SourceWatcher):
    """Tells `publisher` of the values in etcd, as source `number`; lists the prefix about every `interval` seconds."""

    def __init__(
        self,
        number: int,
        url: str,
        location: EtcdLocation,
        state_file: Path | None,
        interval: float,
        publisher: pykka.ActorRef[Any],
    ) -> None:
        super().__init__(
            number, url, publisher, lambda on_update: EtcdFollower(url, location, state_file, interval, on_update)
        )
