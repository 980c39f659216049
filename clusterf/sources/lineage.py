"""Which etcd the keys of a source came from, and whether the one that answers now is that one, and no older.

Another cluster behind the same name, or one that was restored from a backup, may
lack keys that nobody has deleted. It shows by the cluster id, by a revision that
is lower than one seen before, or, once its revision has grown again, by a history
without the keys that were known. Then removals are in doubt, also across restarts,
until the known cluster is back or the operator confirms the one that answers.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from clusterf.etcd.errors import EtcdError
from clusterf.sources.source_record import SourceRecord

__all__ = ["Lineage"]

_CLUSTER, _DOUBT = "cluster", "doubt"  # names in the record


class Lineage:
    """The known cluster, and the doubt about the one that answers. Both are recorded, but not the revision.

    `revision` is that of the recorded copy of the keys, 0 if there is none.
    """

    def __init__(self, record: SourceRecord, revision: int) -> None:
        self._record = record
        self._cluster = record.get(_CLUSTER, int)
        # the last revision seen of the known cluster, and that of its last list
        self._seen = self._listed = revision
        # why removals are in doubt; and whether the known cluster was seen without what was known of it
        self._doubt: str | None
        self._doubt, self._regressed = record.get(_DOUBT, tuple[str, bool]) or (None, False)

    @property
    def doubt(self) -> str | None:
        """Why removals are in doubt, None if they are not."""
        return self._doubt

    @property
    def revisions(self) -> list[int]:
        """The last revision seen of the known cluster, and that of its last list, if there are any."""
        return [revision for revision in dict.fromkeys((self._seen, self._listed)) if revision]

    def see(self, revision: int) -> None:
        """Take the revision of an event."""
        if self._doubt is None:
            self._seen = revision

    def judge(self, cluster: int, revision: int, deleted: Callable[[], bool | None]) -> None:
        """Take the cluster id and revision of a list, and begin, keep or end the doubt.

        `deleted` tells whether all keys that are missing existed in this cluster at one of
        `revisions`, so that they were deleted in it; None: that is compacted.
        """
        if self._cluster not in (None, cluster):
            self._begin(f"another etcd cluster answers, {cluster:x} instead of {self._cluster:x}", self._regressed)
        elif revision < self._seen:
            self._begin(f"the revision of etcd went back from {self._seen} to {revision}", True)
        elif (proven := deleted()) is False:
            self._begin(f"the history of etcd lacks keys that it had at revision {self._seen}", True)
        elif proven or not self._regressed:
            self.accept(cluster, revision)

    def were_deleted(self, missing: AbstractSet[bytes], paths: Callable[[int], set[bytes]]) -> bool | None:
        """Return whether all these keys existed in this etcd before; None if that is not known any more.

        `paths` returns the keys that it had at a revision. Raises EtcdError.
        """
        if missing and not self.revisions:
            return None
        for number, revision in enumerate(self.revisions):
            if not missing:
                break
            try:
                missing = missing - paths(revision)
            except EtcdError as error:
                if not error.compacted:
                    raise
                return None if number == 0 else False
        return not missing

    def accept(self, cluster: int, revision: int) -> None:
        """Take this cluster as the known one, and end the doubt."""
        self._cluster, self._seen, self._listed = cluster, revision, revision
        self._doubt, self._regressed = None, False
        self._record.put(_CLUSTER, cluster)
        self._record.put(_DOUBT, None)

    def _begin(self, reason: str, regressed: bool) -> None:
        if self._doubt is None or regressed != self._regressed:
            self._doubt, self._regressed = reason, regressed
            self._record.put(_DOUBT, (reason, regressed))
