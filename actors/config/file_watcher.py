"""FileWatcher: what a configuration tree on disk says, as it changes."""

from pathlib import Path
from typing import Any

import pykka

from actors.config.source_watcher import SourceWatcher
from clusterf.sources.tree_follower import TreeFollower

__all__ = ["FileWatcher"]


class FileWatcher(SourceWatcher):
    """Tell `publisher` what the tree says, under this source's number; look at all of it every `interval` seconds.

    With `once` it is left alone when it has been told.
    """

    def __init__(
        self,
        number: int,
        url: str,
        root: Path,
        state_file: Path | None,
        interval: float,
        publisher: pykka.ActorRef[Any],
        *,
        once: bool = False,
    ) -> None:
        super().__init__(
            number, url, publisher, lambda say: TreeFollower(url, root, state_file, interval, say, once=once)
        )
