"""A kernel's IPVS in memory that fails when it is told to."""

from clusterf.ipvs.shadow import ShadowKernel
from clusterf.ipvs.table import ConnectionCount

__all__ = ["FakeKernel"]


class FakeKernel(ShadowKernel):
    """A shadow that counts what is asked of it. The fields say what goes wrong."""

    def __init__(self, table=None):
        super().__init__(table)
        # all steps that were asked for, and how often the table was read and flushed
        self.steps = []
        self.reads = 0
        self.flushes = 0
        self.closed = False
        # the next exchanges end with these, each once
        self.breaks = []
        # errno of a step, by what it is about
        self.refused = {}
        self.active = {}

    def _exchange(self):
        if self.breaks:
            raise self.breaks.pop(0)

    def read(self):
        self._exchange()
        self.reads += 1
        return super().read()

    def read_virtual(self, virtual):
        self._exchange()
        return super().read_virtual(virtual)

    def connections(self, virtual):
        self._exchange()
        return {real: ConnectionCount(count, 0) for real, count in self.active.get(virtual, {}).items()}

    def apply(self, steps):
        self._exchange()
        self.steps.extend(steps)
        return super().apply(steps)

    def _refusal(self, step):
        return self.refused.get(step.real or step.virtual) or super()._refusal(step)

    def flush(self):
        self._exchange()
        self.flushes += 1
        super().flush()

    def close(self):
        self.closed = True
