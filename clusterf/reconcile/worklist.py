"""Which keys of the table may differ from what is desired, in the order in which to write them."""

from collections import OrderedDict

from clusterf.ipvs.table import Table, TableKey, VirtualServer

__all__ = ["Worklist"]


class Worklist:
    """Queues of table keys: urgent ones before all others, additions (and edits) before removals.

    A key is compared only when it is taken from its queue, where it stands once. Which
    queue that is depends on what is desired, and on what drains or leaves already.
    """

    def __init__(self, desired: Table) -> None:
        self._desired = desired
        self._urgent: OrderedDict[TableKey, None] = OrderedDict()
        self._additions: OrderedDict[TableKey, None] = OrderedDict()
        self._removals: OrderedDict[TableKey, None] = OrderedDict()
        # virtual servers that are missing in the kernel, and of which real servers were taken
        self._awaited: set[VirtualServer] = set()

    def __bool__(self) -> bool:
        """Tell whether there is a key to take."""
        return bool(self._urgent or self._additions or self._removals)

    def mark(self, key: TableKey) -> None:
        """Queue a server that may differ."""
        virtual, real = key
        reals = self._desired.reals.get(virtual)
        if reals is None:
            self._removals[TableKey(virtual)] = None
        elif real is None or real in reals:
            self._additions[key] = None
        else:
            self._removals[key] = None

    def mark_all(self, virtual: VirtualServer, actual: Table) -> None:
        """Queue a virtual server and all real servers that it has, or is to have."""
        self.mark(TableKey(virtual))
        for reals in (self._desired.reals, actual.reals):
            for real in reals.get(virtual, ()):
                self.mark(TableKey(virtual, real))

    def remove(self, key: TableKey) -> None:
        """Queue a server that is not desired, and may be removed."""
        self._removals[key] = None

    def hurry(self, key: TableKey, *, first: bool) -> None:
        """Queue a server before all that are not urgent; `first`: before the urgent ones, too."""
        self._urgent[key] = None
        self._urgent.move_to_end(key, last=not first)

    def next_urgent(self) -> TableKey | None:
        """Take the next urgent key out of all queues."""
        if not self._urgent:
            return None
        key, _ = self._urgent.popitem(last=False)
        self._additions.pop(key, None)
        self._removals.pop(key, None)
        return key

    def next_addition(self) -> TableKey | None:
        """Take the next addition."""
        return self._additions.popitem(last=False)[0] if self._additions else None

    def next_removal(self) -> TableKey | None:
        """Take the next removal."""
        return self._removals.popitem(last=False)[0] if self._removals else None

    def await_virtual(self, virtual: VirtualServer) -> None:
        """Note that real servers were skipped because their virtual server is missing."""
        self._awaited.add(virtual)

    def stop_awaiting(self, virtual: VirtualServer) -> bool:
        """Tell whether real servers of the virtual server were skipped, and forget that."""
        if virtual not in self._awaited:
            return False
        self._awaited.remove(virtual)
        return True

    def clear(self) -> None:
        """Empty all queues but the urgent one, because the table was read and compared as a whole."""
        for queue in (self._additions, self._removals, self._awaited):
            queue.clear()
