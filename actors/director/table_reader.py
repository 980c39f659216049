"""Reading the kernel's whole table, and reporting what was changed outside clusterf."""

import logging
from collections.abc import Callable, Sequence
from typing import Literal

from clusterf.ipvs import ipvsadm
from clusterf.ipvs.kernel import Kernel
from clusterf.ipvs.operation_log import OperationLog
from clusterf.ipvs.table import Op, Step, Table, VirtualServer
from clusterf.reconcile.reconciler import Reconciler

__all__ = ["TableReader"]

log = logging.getLogger(__name__)

DRIFT_LINES = 10


class TableReader:
    """Reads the table for the reconciler when it is due: at start, after an error, when asked for, at an interval.

    With `flushed` the table is emptied before it is read first, except for virtual
    servers that are `excluded`; `flushed` is called then.
    """

    def __init__(
        self,
        kernel: Kernel,
        reconciler: Reconciler,
        operations: OperationLog,
        excluded: Callable[[VirtualServer], bool],
        flushed: Callable[[], None] | None,
    ) -> None:
        self._kernel = kernel
        self._reconciler = reconciler
        self._operations = operations
        self._excluded = excluded
        self._flushed = flushed
        # why the table has to be read before it is written, None: it need not be
        self._reason: Literal["start", "error", "reload", "resync"] | None = "start"

    @property
    def due(self) -> bool:
        """Whether the table has to be read before it is written."""
        return self._reason is not None

    def request(self, reason: Literal["error", "reload", "resync"]) -> None:
        """Have the table read, unless it is due already."""
        self._reason = self._reason or reason

    def read(self) -> None:
        """Read the table. Raises OSError, and then it stays due."""
        table = self._kernel.read()
        if self._flushed is not None:
            table = self._flush(table, self._flushed)
        self._complete(table)
        drift = self._reconciler.observe(table)
        if self._reason in {"reload", "resync"}:
            _report(drift)
        self._reason = None

    def _complete(self, table: Table) -> None:
        """Add virtual servers that are recorded as ours, and exist, but are missing in what was read.

        What others remove while the table is read may hide another virtual server from
        the reader, and one that is missing is dropped from the record for good.
        """
        known = table.virtuals.keys() | self._reconciler.desired.virtuals.keys()
        for virtual in set(self._reconciler.owned) - known:
            state = self._kernel.read_virtual(virtual)
            if state is not None:
                settings, reals = state
                table.virtuals[virtual], table.reals[virtual] = settings, dict(reals)

    def _flush(self, table: Table, flushed: Callable[[], None]) -> Table:
        """Remove all virtual servers but excluded ones, and read the table again."""
        if not any(map(self._excluded, table.virtuals)):
            self._kernel.flush()
            self._operations.flushed()
        else:
            steps = [Step(Op.REMOVE_VIRTUAL, v) for v in table.virtuals if not self._excluded(v)]
            self._operations.applied(steps, self._kernel.apply(steps))
        self._flushed = None
        flushed()
        return self._kernel.read()


def _report(drift: Sequence[Step]) -> None:
    """Log what others have changed, by the commands that undo it."""
    if drift:
        log.warning("ipvs: drift: %d changes made outside clusterf, repairing", len(drift))
    for step in drift[:DRIFT_LINES]:
        log.warning("ipvs: drift: repair: %s", ipvsadm.command(step))
