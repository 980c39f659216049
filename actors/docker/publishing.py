"""What a publisher is told, and when: all keys first, then changes, and before all that what a node has on record.

Nothing is told before it is known what an earlier node has published, which tells where
a container was whose record is lost. As long as the engine does not answer, what is on record goes on
being published, as the lease may have ended that it was published on.
"""

from collections.abc import Callable, Mapping

from actors.docker.key_publisher import Publish, PublishOnly
from clusterf.docker.publications import Changes

__all__ = ["Publishing"]


class Publishing:
    """Tells a publisher the `keys` of an inventory with `tell`. `recorded` are those that were published last."""

    def __init__(
        self,
        tell: Callable[[Publish | PublishOnly], None],
        keys: Callable[[], Mapping[bytes, bytes]],
        recorded: Mapping[bytes, bytes],
    ) -> None:
        self._tell = tell
        self._keys = keys
        # what is published without knowing of it, as long as the inventory is not complete
        self._recorded = dict(recorded)
        # whether `found` was called, the inventory has been complete, and the publisher has the complete set
        self._begun = self._complete = self._told = False

    def found(self, published: Mapping[bytes, bytes]) -> None:
        """Begin: the inventory knows what an earlier node has published."""
        self._begun = True
        self._recorded = {path: value for path, value in self._recorded.items() if path not in published}
        if self._complete:
            self._tell_all()
            return
        for path, value in self._keys().items():
            self._tell(Publish(path, value))

    def changed(self, changes: Changes, *, complete: bool) -> None:
        """Take in what changed; `complete`: the keys are all that there are."""
        self._complete |= complete
        if not self._begun:
            return
        if self._complete and not self._told:
            self._tell_all()
            return
        for path, value in changes.keys.items():
            self._tell(Publish(path, value))

    def engine_is_away(self) -> dict[bytes, bytes]:
        """Take in that the engine does not answer; return what is published from the record as of now."""
        if self._complete or not self._begun:
            return {}
        recorded, self._recorded = self._recorded, {}
        known = self._keys()
        recorded = {path: value for path, value in recorded.items() if path not in known}
        for path, value in recorded.items():
            self._tell(Publish(path, value))
        return recorded

    def _tell_all(self) -> None:
        self._told = True
        self._tell(PublishOnly(dict(self._keys())))
