"""EtcdWatcher: what etcd says below a prefix, as it changes."""

from pathlib import Path
from typing import Any

import pykka

from actors.config.source_watcher import SourceWatcher
from clusterf.etcd.location import EtcdLocation
from clusterf.sources.etcd_follower import EtcdFollower

__all__ = ["EtcdWatcher"]


class EtcdWatcher(SourceWatcher):
    """Tell `publisher` what etcd says, under this source's number; list all of it every `interval` seconds."""

    def __init__(
        self,
        number: int,
        url: str,
        location: EtcdLocation,
        state_file: Path | None,
        interval: float,
        publisher: pykka.ActorRef[Any],
    ) -> None:
        super().__init__(number, url, publisher, lambda say: EtcdFollower(url, location, state_file, interval, say))
