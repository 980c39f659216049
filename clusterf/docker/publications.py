"""What all containers and networks of an engine publish together, and what changes of it."""

from collections.abc import Mapping
from typing import NamedTuple

from clusterf.config.problems import Problem
from clusterf.docker.publication import NOTHING, Publication
from clusterf.docker.record import ContainerRecord
from clusterf.lib.mapping import put

__all__ = ["Changes", "Publications"]


class Changes(NamedTuple):
    """What changed since the last time; a value of None: removed.

    `keys` are JSON by path below the prefix. `problems` are by id of a
    container or a network; none: solved. `records`, by id of a container,
    are to be stored across restarts.
    """

    keys: dict[bytes, bytes | None]
    problems: dict[str, tuple[Problem, ...]]
    records: dict[str, ContainerRecord | None]


class Publications:
    """The publications of containers and networks by id, and the keys that follow from all of them."""

    def __init__(self) -> None:
        self._by_id: dict[str, Publication] = {}
        self.keys: dict[bytes, bytes] = {}

    def update(self, publications: Mapping[str, Publication], records: dict[str, ContainerRecord | None]) -> Changes:
        """Replace these publications; return what changed, along with `records`."""
        changes = Changes({}, {}, records)
        for object_id, publication in publications.items():
            self._replace(object_id, publication, changes)
        return changes

    def _replace(self, object_id: str, new: Publication, changes: Changes) -> None:
        """Replace one publication and add to `changes`."""
        old = self._by_id.get(object_id, NOTHING)
        put(self._by_id, object_id, new if new != NOTHING else None)
        for path in old.keys | new.keys:
            value = new.keys.get(path)
            if put(self.keys, path, value):
                changes.keys[path] = value
        if old.problems != new.problems:
            changes.problems[object_id] = new.problems
