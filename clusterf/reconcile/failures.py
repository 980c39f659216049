"""What the kernel refused: steps to retry later, and virtual servers to read again before they are written."""

import errno
from collections import Counter
from typing import NamedTuple

from clusterf.ipvs.table import Step, TableKey, VirtualServer

__all__ = ["Failure", "Failures"]

# by these the table turns out to differ from what was read last
_OUT_OF_DATE = {errno.EEXIST, errno.ENOENT, errno.ESRCH}
_REREADS = 2  # of one virtual server, before its next failure has to wait


class Failure(NamedTuple):
    """A step that the kernel refused, and its errno."""

    step: Step
    error: int


class Failures:
    """The steps to retry, and the virtual servers to read again. True if there are steps to retry."""

    def __init__(self) -> None:
        # virtual servers to read again before they are written; in the order in which they failed
        self.stale: dict[VirtualServer, None] = {}
        # the errno of each server that has to wait for a retry; 0: its removal waits for its replacement
        self.waiting: dict[TableKey, int] = {}
        # the virtual servers of `waiting`
        self._virtuals: set[VirtualServer] = set()
        # how often each virtual server was read again since the last retry
        self._rereads: Counter[VirtualServer] = Counter()

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def __len__(self) -> int:
        """Return how many servers wait for a retry."""
        return len(self.waiting)

    def __contains__(self, virtual: VirtualServer) -> bool:
        """Tell whether the virtual server, or a real server of it, waits for a retry."""
        return virtual in self._virtuals

    def is_consequence(self, step: Step) -> bool:
        """Tell whether the step failed because of its virtual server, which failed before it."""
        return step.virtual in self.stale or TableKey(step.virtual) in self.waiting

    def add(self, step: Step, error: int) -> None:
        """Have the step's virtual server read again if that may help, else let the step wait for a retry."""
        if error in _OUT_OF_DATE and self._rereads[step.virtual] < _REREADS:
            self.stale[step.virtual] = None
        else:
            self.postpone(TableKey(step.virtual, step.real), error)

    def postpone(self, key: TableKey, error: int = 0) -> None:
        """Let a server wait for the next retry."""
        self.waiting[key] = error
        self._virtuals.add(key.virtual)

    def has_to_wait(self, key: TableKey) -> bool:
        """Tell whether the server, or its virtual server, waits for a retry."""
        return key in self.waiting or TableKey(key.virtual) in self.waiting

    def reread(self, virtual: VirtualServer) -> None:
        """Note that the virtual server was read again."""
        self.stale.pop(virtual, None)
        self._rereads[virtual] += 1

    def take(self) -> list[TableKey]:
        """Return, and forget, the servers that wait for a retry; each virtual server may be read again anew."""
        keys = list(self.waiting)
        self.waiting.clear()
        self._virtuals.clear()
        self._rereads.clear()
        return keys

    def clear(self) -> None:
        """Forget all, because the whole table was read."""
        self.stale.clear()
        self.take()
