"""FileWatcher: follows a configuration tree on disk."""

from pathlib import Path
from typing import Any

import pykka

from actors.config.source_watcher import SourceWatcher
from clusterf.sources.tree_follower import TreeFollower

__all__ = ["FileWatcher"]


class FileWatcher(SourceWatcher):
    """Tells `publisher` of the values in the tree, as source `number`; scans it about every `interval` seconds.

    With `once` the tree is no longer followed when it has been published.
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
            number,
            url,
            publisher,
            lambda on_update: TreeFollower(url, root, state_file, interval, on_update, once=once),
        )
