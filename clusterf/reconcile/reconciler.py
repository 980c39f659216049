"""What to write next: the pure core of the IPVS writer.

Holds the table that is desired and the one that was found in the kernel, and which
keys of them may differ. `next_steps` turns some of these keys into steps,
computed at that moment from the newest state, and `done` takes the kernel's
answers. A step that fails is retried. Nothing here does I/O: time and the count
of connections are arguments.

Only virtual servers of ours are ever changed: those that are desired, and those
that we are recorded to have made.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from clusterf.ipvs.diff import diff, real_step, virtual_step
from clusterf.ipvs.table import (
    Op,
    RealServer,
    RealServerSettings,
    Step,
    Table,
    TableKey,
    VirtualServer,
    VirtualServerSpec,
    VirtualServerState,
)
from clusterf.reconcile.drains import Drains
from clusterf.reconcile.failures import Failure, Failures
from clusterf.reconcile.owned import OwnedServers
from clusterf.reconcile.removals import Connections, Removals
from clusterf.reconcile.worklist import Worklist

__all__ = ["Reconciler"]


class Reconciler:
    """Brings the actual table to the desired one, some steps at a time.

    `recorded`: the virtual servers that we are recorded to have made, and how many
    seconds their real servers may drain.
    """

    def __init__(self, recorded: Mapping[VirtualServer, float] = MappingProxyType({})) -> None:
        self.desired = Table()
        self.actual = Table()
        self.draining = Drains(recorded)
        self.owned = OwnedServers(recorded, self.draining)
        self.failures = Failures()
        self._worklist = Worklist(self.desired)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to write or to read now, apart from retries and drains."""
        return not (self._worklist or self.failures.stale)

    def want_virtual(self, virtual: VirtualServer, spec: VirtualServerSpec | None) -> None:
        """Set what is desired of a virtual server; None: neither it nor its real servers are."""
        new = virtual not in self.desired.virtuals
        self.desired.put_virtual(virtual, spec.settings if spec else None)
        if spec is not None:
            self.owned.set_drain_timeout(virtual, spec.drain_timeout)
        self._worklist.mark(TableKey(virtual))
        if new:
            for real in self.actual.reals.get(virtual, ()):
                self._worklist.mark(TableKey(virtual, real))

    def want_real(
        self, virtual: VirtualServer, real: RealServer, settings: RealServerSettings | None, *, urgent: bool = False
    ) -> None:
        """Set what is desired of a real server, None: it is not; `urgent`: to be written before all else.

        Raises KeyError if its virtual server is not desired.
        """
        self.desired.put_real(virtual, real, settings)
        if settings is not None:
            self.draining.forget(virtual, real)
        key = TableKey(virtual, real)
        if urgent:
            self._worklist.hurry(key, first=settings is not None)
        else:
            self._worklist.mark(key)

    def observe(self, table: Table) -> list[Step]:
        """Take `table` as read from the kernel; return the steps that would undo what others changed of ours."""
        drift = [step for step in diff(self.actual, table) if self._is_ours(step.virtual)]
        self.actual = table
        self.failures.clear()
        self._worklist.clear()
        for virtual in table.virtuals:
            if virtual in self.desired.virtuals:
                self.owned.add(virtual)
        for virtual in [v for v in self.owned if v not in table.virtuals and v not in self.desired.virtuals]:
            self._forget(virtual)
        for step in diff(self.desired, table):
            if self._is_ours(step.virtual):
                self._worklist.mark(TableKey(step.virtual, step.real))
        return drift

    def observe_virtual(self, virtual: VirtualServer, state: VirtualServerState | None) -> None:
        """Take `state` as read from the kernel for one virtual server, None: it does not exist."""
        self.failures.reread(virtual)
        self.actual.put_virtual(virtual, None)
        if state is not None:
            settings, reals = state
            self.actual.put_virtual(virtual, settings)
            self.actual.reals[virtual] = dict(reals)
        self._worklist.mark_all(virtual, self.actual)

    def next_steps(self, limit: int, now: float, connections: Connections) -> list[Step]:
        """Return up to `limit` steps to do now; none if there is nothing to do at present.

        Urgent ones come first, then additions. `now` is in seconds. Raises what `connections` raises.
        """
        removals = Removals(self.desired, self.actual, self.draining, connections, now)
        steps = self._urgent_steps(limit, removals)
        adding: set[VirtualServer] = set()
        while len(steps) < limit and (key := self._worklist.next_addition()):
            step = self._addition(key, adding)
            if step is not None:
                steps.append(step)
        if steps:
            return steps
        while len(steps) < limit and (key := self._worklist.next_removal()):
            steps.extend(self._removal(key, removals))
            if len(steps) > limit:
                del steps[limit:]
                self._worklist.mark(key)
        return steps

    def done(self, steps: Sequence[Step], errors: Sequence[int]) -> list[Failure]:
        """Take the kernel's answers to `steps`, an errno each; return the failures to report.

        Those of real servers whose virtual server failed are not reported.
        """
        failures = []
        for step, error in zip(steps, errors, strict=True):
            if not error:
                self._succeeded(step)
            elif not self.failures.is_consequence(step):
                failures.append(Failure(step, error))
                self.failures.add(step, error)
        return failures

    def retry(self) -> None:
        """Have the steps that failed done again."""
        for key in self.failures.take():
            if key.real is None:
                self._worklist.mark_all(key.virtual, self.actual)
            else:
                self._worklist.mark(key)

    def check_drains(self) -> None:
        """Have all real servers that drain checked by the next steps, except those that wait for a retry."""
        for virtual, real in self.draining:
            key = TableKey(virtual, real)
            if not self.failures.has_to_wait(key):
                self._worklist.mark(key)

    def _urgent_steps(self, limit: int, removals: Removals) -> list[Step]:
        steps: list[Step] = []
        while len(steps) < limit and (key := self._worklist.next_urgent()):
            if key.real in self.desired.reals.get(key.virtual, {}):
                step = self._addition(key, set())
                steps += [step] if step is not None else []
            else:
                steps += self._removal(key, removals)
        return steps

    def _addition(self, key: TableKey, adding: set[VirtualServer]) -> Step | None:
        virtual, real = key
        if virtual in self.failures.stale or virtual not in self.desired.virtuals:
            return None
        if real is None:
            self.owned.add(virtual)
            step = virtual_step(virtual, self.desired.virtuals[virtual], self.actual.virtuals.get(virtual))
            if step is not None and step.op is Op.ADD_VIRTUAL:
                adding.add(virtual)
            return step
        if virtual not in self.actual.virtuals and virtual not in adding:
            self._worklist.await_virtual(virtual)
            return None
        settings = self.desired.reals[virtual].get(real)
        if settings is None:
            self._worklist.remove(key)
            return None
        return real_step(virtual, real, settings, self.actual.reals.get(virtual, {}).get(real))

    def _removal(self, key: TableKey, removals: Removals) -> list[Step]:
        virtual, real = key
        if virtual in self.failures.stale:
            return []
        if virtual not in self.desired.virtuals:
            # (the real servers of one that is removed are not removed one by one)
            return self._remove_virtual(virtual, removals) if real is None else []
        if real is None or real in self.desired.reals[virtual]:
            return []
        if real not in self.actual.reals.get(virtual, ()):
            self.draining.forget(virtual, real)
            return []
        if virtual in self.failures and removals.unreplaced(virtual):
            self.failures.postpone(key)
            return []
        return removals.remove_real(virtual, real)

    def _remove_virtual(self, virtual: VirtualServer, removals: Removals) -> list[Step]:
        if virtual not in self.actual.virtuals:
            self._forget(virtual)
            return []
        return removals.remove_virtual(virtual) if virtual in self.owned else []

    def _succeeded(self, step: Step) -> None:
        if step.virtual not in self.actual.virtuals and step.op is not Op.ADD_VIRTUAL:
            return  # read again meanwhile
        self.actual.apply(step)
        if self._worklist.stop_awaiting(step.virtual):
            self._worklist.mark_all(step.virtual, self.actual)
        if step.op is Op.REMOVE_VIRTUAL:
            self._forget(step.virtual)
        elif step.real is not None and step.op is Op.REMOVE_REAL:
            self.draining.forget(step.virtual, step.real)
        elif step.op is Op.EDIT_REAL and step.real not in self.desired.reals.get(step.virtual, ()):
            # its weight is 0 now: check at once whether it still has connections
            self._worklist.remove(TableKey(step.virtual, step.real if step.virtual in self.desired.virtuals else None))

    def _is_ours(self, virtual: VirtualServer) -> bool:
        return virtual in self.desired.virtuals or virtual in self.owned

    def _forget(self, virtual: VirtualServer) -> None:
        """Drop all that is known of a virtual server that is neither desired nor there."""
        self.owned.discard(virtual)
        self.draining.forget_all(virtual)
        self._worklist.stop_awaiting(virtual)
