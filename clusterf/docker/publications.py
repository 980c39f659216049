"""What all containers and networks of an engine publish together, and what changes of it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from clusterf.config.problems import Problem
from clusterf.docker.check_offers import CheckOffers
from clusterf.docker.labels import SOURCE
from clusterf.docker.publication import NOTHING, Publication
from clusterf.docker.record import ContainerRecord
from clusterf.lib.mapping import put

__all__ = ["Changes", "Publications"]


class Changes(NamedTuple):
    """What changed since the last time; a value of None: removed.

    `keys` are JSON by path below the prefix. `checks` are, too, but each only
    counts where nobody else has such a key. `problems` are by id of a
    container or a network, or by path of a check; none: solved. `records`, by
    id of a container, are to be stored across restarts.
    """

    keys: dict[bytes, bytes | None]
    checks: dict[bytes, bytes | None]
    problems: dict[str, tuple[Problem, ...]]
    records: dict[str, ContainerRecord | None]


class Publications:
    """The publications of containers and networks by id, and the keys and checks that follow from all of them."""

    def __init__(self) -> None:
        self._by_id: dict[str, Publication] = {}
        self._check_offers = CheckOffers()
        # checks for which containers have different labels
        self._conflicts: dict[bytes, tuple[Problem, ...]] = {}
        self.keys: dict[bytes, bytes] = {}
        self.checks: dict[bytes, bytes] = {}

    def update(self, publications: Mapping[str, Publication], records: dict[str, ContainerRecord | None]) -> Changes:
        """Replace these publications; return what changed, along with `records`."""
        changes = Changes({}, {}, {}, records)
        concerned: dict[bytes, None] = {}
        for object_id, publication in publications.items():
            concerned |= dict.fromkeys(self._replace(object_id, publication, changes))
        for path in concerned:
            self._settle_check(path, changes)
        return changes

    def _replace(self, object_id: str, new: Publication, changes: Changes) -> Iterable[bytes]:
        """Replace one publication and add to `changes`; return the paths of the checks that this concerns."""
        old = self._by_id.get(object_id, NOTHING)
        put(self._by_id, object_id, new if new != NOTHING else None)
        for path in old.keys | new.keys:
            value = new.keys.get(path)
            if put(self.keys, path, value):
                changes.keys[path] = value
        if old.problems != new.problems:
            changes.problems[object_id] = new.problems
        return self._check_offers.replace(object_id, new.checks) if old.checks != new.checks else ()

    def _settle_check(self, path: bytes, changes: Changes) -> None:
        best = self._check_offers.best(path)
        value = best.value if best is not None else None
        if put(self.checks, path, value):
            changes.checks[path] = value
        problems: tuple[Problem, ...] = ()
        if best is not None and not self._check_offers.agree(path):
            reason = f"containers have different health labels: using that of the one started last, {best.by[:12]}"
            problems = (Problem(SOURCE, path, "", reason, fatal=False),)
        if put(self._conflicts, path, problems or None):
            changes.problems[path.decode()] = problems
