"""What to write next: the pure heart of the IPVS writer.

Holds the table that is desired and the one that is known to be there, and
which places in them may differ. `next_steps` turns some of those places into
steps, computed at that moment from the newest state, and `done` takes the
kernel's answers. A step that fails stays to do. Nothing here does I/O: time
and the count of connections are arguments.

Only our own virtual servers are ever changed: those that are desired, and
those that we are recorded to have made.

A real server that leaves while it has connections is drained: it gets weight
0, and goes when it has none or its time is up. One that only had some lately
gets weight 0 too, and goes when a second look finds that none came meanwhile.
"""

import errno
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from clusterf.ipvs.diff import diff, real_step, virtual_step
from clusterf.ipvs.table import (
    ConnectionCount,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    VirtualServer,
    VirtualServerSpec,
    VirtualServerState,
)
from clusterf.lib.addresses import Protocol
from clusterf.reconcile.drains import Drains

__all__ = ["Connections", "Failure", "Reconciler", "TableKey"]

Connections = Callable[[VirtualServer], Mapping[RealServer, ConnectionCount]]
"""Tells the connections of the real servers of a virtual server."""

_NONE = ConnectionCount(0, 0)

_OUT_OF_DATE = {errno.EEXIST, errno.ENOENT, errno.ESRCH}
_REREADS = 2  # of one virtual server in a row, before waiting


class TableKey(NamedTuple):
    """A place in a table: a virtual server, or one of its real servers."""

    virtual: VirtualServer
    real: RealServer | None = None


class Failure(NamedTuple):
    """A step that the kernel refused, and the errno of it."""

    step: Step
    error: int


class _Look(NamedTuple):
    """What removals in a virtual server have to heed, looked up once for all of a part."""

    # the connections of its real servers; empty where nothing is to be waited for
    counts: Mapping[RealServer, ConnectionCount]
    # whether real servers that are wanted could not be added, and none that is wanted takes connections
    irreplaceable: bool


class Reconciler:
    """Bring the actual table to the desired one, some steps at a time.

    `owned`: the virtual servers that we are recorded to have made, and how
    many seconds their real servers may take to leave.
    """

    def __init__(self, owned: Mapping[VirtualServer, float] = MappingProxyType({})) -> None:
        self.desired = Table()
        self.actual = Table()
        self.owned = set(owned)
        # virtual servers that have to be read again before they are written
        self.stale: dict[VirtualServer, None] = {}
        # what the kernel refused, still to do, and with 0 what is held back for it
        self.failed: dict[TableKey, int] = {}
        # real servers that leave and may finish their connections
        self.draining = Drains()
        for virtual, seconds in owned.items():
            self.draining.set_timeout(virtual, seconds)
        # places that are worked off before all others, what is wanted first
        self._urgent: OrderedDict[TableKey, None] = OrderedDict()
        # places that may differ, in the order in which they were marked
        self._additions: OrderedDict[TableKey, None] = OrderedDict()
        self._removals: OrderedDict[TableKey, None] = OrderedDict()
        # virtual servers that may have to go: whether they may is for others to say
        self._departures: OrderedDict[VirtualServer, None] = OrderedDict()
        # virtual servers whose real servers were passed over as they were not there yet
        self._awaited: set[VirtualServer] = set()
        # virtual servers that ceased to be wanted, until they are among the next, which are to be told
        self._unwanted: set[VirtualServer] = set()
        self._departed: list[VirtualServer] = []
        # the virtual servers of `failed`
        self._troubled: set[VirtualServer] = set()
        self._rereads: Counter[VirtualServer] = Counter()
        self._ownership: dict[VirtualServer, bool] = {}

    @property
    def idle(self) -> bool:
        """Whether there is nothing to write or to read at present, but for what failed or drains."""
        return not self._departures and self.idle_but_for_departures

    @property
    def idle_but_for_departures(self) -> bool:
        """Whether all that is left at present is virtual servers that may have to go."""
        return not (self._urgent or self._additions or self._removals or self.stale)

    @property
    def in_force(self) -> int:
        """How many virtual servers of ours are there."""
        return sum(virtual in self.owned for virtual in self.actual.virtuals)

    @property
    def leaving(self) -> int:
        """How many of them are to go and have not begun to."""
        return sum(v in self.owned and v in self.actual.virtuals for v in self._departures)

    def want_virtual(self, virtual: VirtualServer, claim: VirtualServerSpec | None) -> None:
        """Want the virtual server so; with None want neither it nor its real servers."""
        new = virtual not in self.desired.virtuals
        self._departures.pop(virtual, None)
        self._removals.pop(TableKey(virtual), None)  # or what was allowed once would be for ever
        self.desired.put_virtual(virtual, claim.settings if claim else None)
        if claim is None:
            self._unwanted.add(virtual)
        else:
            self._unwanted.discard(virtual)
            self._set_timeout(virtual, claim.drain_timeout)
        self._mark(TableKey(virtual))
        if new:
            for real in self.actual.reals.get(virtual, ()):
                self._mark(TableKey(virtual, real))

    def want_real(
        self, virtual: VirtualServer, real: RealServer, settings: RealServerSettings | None, *, urgent: bool = False
    ) -> None:
        """Want the real server so, or with None not at all; `urgent`: before all else that is to do.

        Raises KeyError if its virtual server is not wanted.
        """
        self.desired.put_real(virtual, real, settings)
        if settings is not None:
            self.draining.forget(virtual, real)
        place = TableKey(virtual, real)
        if urgent:
            self._urgent[place] = None
            self._urgent.move_to_end(place, last=settings is None)
        else:
            self._mark(place)

    def observe(self, table: Table) -> list[Step]:
        """Take `table` for what is there; return the steps by which others have changed what is ours."""
        drift = [step for step in diff(self.actual, table) if self._ours(step.virtual)]
        self.actual = table
        for outdated in (
            *(self.stale, self.failed, self._troubled, self._rereads),
            *(self._additions, self._removals, self._departures, self._awaited),
        ):
            outdated.clear()
        for virtual in table.virtuals:
            if virtual in self.desired.virtuals:
                self._own(virtual)
        for virtual in [v for v in self.owned if v not in table.virtuals and v not in self.desired.virtuals]:
            self._forget(virtual)
        for virtual in self._unwanted - self.owned:
            self._depart(virtual)
        for step in diff(self.desired, table):
            if self._ours(step.virtual):
                self._mark(TableKey(step.virtual, step.real))
        return drift

    def observe_virtual(self, virtual: VirtualServer, state: VirtualServerState | None) -> None:
        """Take `state` for what is there of one virtual server, None: it is not there."""
        self.stale.pop(virtual, None)
        self._rereads[virtual] += 1
        self.actual.put_virtual(virtual, None)
        if state is not None:
            settings, reals = state
            self.actual.put_virtual(virtual, settings)
            self.actual.reals[virtual] = dict(reals)
        self._mark_all(virtual)

    def next_steps(self, limit: int, now: float, connections: Connections, *, departures: bool = True) -> list[Step]:
        """Return up to `limit` steps to do now; none if there is nothing left to do at present.

        What is urgent comes first, then additions. Without `departures` no
        virtual server begins to go.
        """
        look = cache(partial(self._look, connections))
        steps = self._urgent_steps(limit, now, look)
        adding: set[VirtualServer] = set()
        while self._additions and len(steps) < limit:
            place, _ = self._additions.popitem(last=False)
            step = self._addition(place, adding)
            if step is not None:
                steps.append(step)
        if steps:
            return steps
        # (what is not there need not be allowed to go)
        for virtual in [v for v in self._departures if departures or v not in self.actual.virtuals]:
            del self._departures[virtual]
            self._removals[TableKey(virtual)] = None
        while self._removals and len(steps) < limit:
            place, _ = self._removals.popitem(last=False)
            steps.extend(self._removal(place, now, look(place.virtual)))
            if len(steps) > limit:
                del steps[limit:]
                self._mark(place)
        return steps

    def done(self, steps: Sequence[Step], errors: Sequence[int]) -> list[Failure]:
        """Take the kernel's answers to `steps`, an errno each; return the failures that are worth a word."""
        failures = []
        for step, error in zip(steps, errors, strict=True):
            if not error:
                self._succeeded(step)
            elif step.virtual not in self.stale and TableKey(step.virtual) not in self.failed:
                # (else its real servers fail with it, and will be looked at when it is)
                failures.append(Failure(step, error))
                self._fail(step, error)
        return failures

    def retry(self) -> None:
        """Put what failed back among what is to do."""
        failed, self.failed = self.failed, {}
        self._troubled.clear()
        self._rereads.clear()
        for place in failed:
            if place.real is None:
                self._mark_all(place.virtual)
            else:
                self._mark(place)

    def check_drains(self) -> None:
        """Look at all that drains when steps are asked for next, save what failed: that is for `retry`."""
        for virtual, real in self.draining:
            if self.failed.keys().isdisjoint((TableKey(virtual), TableKey(virtual, real))):
                self._mark(TableKey(virtual, real))

    def take_ownership(self) -> dict[VirtualServer, float | None]:
        """Return what is to be put on record of which virtual servers are ours, since the last call.

        With each that is ours goes for how many seconds its real servers may
        drain; None: it has ceased to be ours. What has become ours has to be on
        record before its step is done.
        """
        changes, self._ownership = self._ownership, {}
        return {virtual: self.draining.timeout(virtual) if ours else None for virtual, ours in changes.items()}

    def take_departed(self) -> list[VirtualServer]:
        """Return which virtual servers have begun to go since the last call.

        Each that ceases to be wanted, and is not wanted again before, is told
        once: when its removal begins, or it is found not to be there, or not
        to be ours. Until then its real servers are in force.
        """
        departed, self._departed = self._departed, []
        return departed

    def _urgent_steps(self, limit: int, now: float, look: Callable[[VirtualServer], _Look]) -> list[Step]:
        steps: list[Step] = []
        while self._urgent and len(steps) < limit:
            place, _ = self._urgent.popitem(last=False)
            # or it would be done twice in this part
            self._additions.pop(place, None)
            self._removals.pop(place, None)
            if place.real in self.desired.reals.get(place.virtual, {}):
                step = self._addition(place, set())
                steps += [step] if step is not None else []
            else:
                steps += self._removal(place, now, look(place.virtual))
        return steps

    def _addition(self, place: TableKey, adding: set[VirtualServer]) -> Step | None:
        virtual, real = place
        if virtual in self.stale or virtual not in self.desired.virtuals:
            return None
        if real is None:
            self._own(virtual)
            step = virtual_step(virtual, self.desired.virtuals[virtual], self.actual.virtuals.get(virtual))
            if step is not None and step.op is Op.ADD_VIRTUAL:
                adding.add(virtual)
            return step
        if virtual not in self.actual.virtuals and virtual not in adding:
            self._awaited.add(virtual)
            return None
        wanted = self.desired.reals[virtual].get(real)
        if wanted is None:
            self._removals[place] = None
            return None
        return real_step(virtual, real, wanted, self.actual.reals.get(virtual, {}).get(real))

    def _look(self, connections: Connections, virtual: VirtualServer) -> _Look:
        wanted, actual = self.desired.reals.get(virtual, {}), self.actual.reals.get(virtual, {})
        drains = actual and virtual not in self.stale and self._connects(virtual)
        irreplaceable = virtual in self._troubled and not any(r in actual and actual[r].weight for r in wanted)
        return _Look(connections(virtual) if drains else {}, irreplaceable)

    def _connects(self, virtual: VirtualServer) -> bool:
        """Tell whether the virtual server, which is there, has connections that are worth to be waited for."""
        if virtual.protocol is not None:
            return virtual.protocol is not Protocol.UDP
        return not self.actual.virtuals[virtual].flags & ServiceFlag.ONE_PACKET

    def _removal(self, place: TableKey, now: float, look: _Look) -> list[Step]:
        virtual, real = place
        if virtual in self.stale:
            return []
        if virtual not in self.desired.virtuals:
            # (there is a mark of the virtual server for each that went)
            return self._remove_virtual(virtual, now, look.counts) if real is None else []
        if real is None or real in self.desired.reals[virtual]:
            return []
        if real not in self.actual.reals.get(virtual, ()):
            self.draining.forget(virtual, real)
            return []
        if look.irreplaceable:
            self._put_off(place, 0)
            return []
        may = self._may_leave(virtual, real, now, look.counts.get(real, _NONE))
        return self._remove_real(virtual, real, may=may)

    def _remove_virtual(
        self, virtual: VirtualServer, now: float, counts: Mapping[RealServer, ConnectionCount]
    ) -> list[Step]:
        self._depart(virtual)
        if virtual not in self.actual.virtuals:
            self._forget(virtual)
            return []
        if virtual not in self.owned:
            return []
        reals = self.actual.reals[virtual]
        leave = [(r, self._may_leave(virtual, r, now, counts.get(r, _NONE))) for r in reals]
        if all(may for _, may in leave):
            return [Step(Op.REMOVE_VIRTUAL, virtual)]
        return [step for real, may in leave for step in self._remove_real(virtual, real, may=may)]

    def _remove_real(self, virtual: VirtualServer, real: RealServer, *, may: bool) -> list[Step]:
        """Return the step by which a real server goes, or drains if it may not; none if it drains already."""
        if may:
            return [Step(Op.REMOVE_REAL, virtual, real)]
        settings = self.actual.reals[virtual][real]
        if settings.weight == 0:
            return []
        return [Step(Op.EDIT_REAL, virtual, real, msgspec.structs.replace(settings, weight=0))]

    def _may_leave(self, virtual: VirtualServer, real: RealServer, now: float, count: ConnectionCount) -> bool:
        if count.active:
            return not self.draining.has_time(virtual, real, now)
        # one that is in use could get a connection between this look and its end
        weight = self.actual.reals[virtual][real].weight
        return not (count.inactive and weight and self.draining.timeout(virtual))

    def _succeeded(self, step: Step) -> None:
        if step.virtual not in self.actual.virtuals and step.op is not Op.ADD_VIRTUAL:
            return  # read again meanwhile
        self.actual.apply(step)
        if step.virtual in self._awaited:
            self._awaited.remove(step.virtual)
            self._mark_all(step.virtual)
        if step.op is Op.REMOVE_VIRTUAL:
            self._forget(step.virtual)
        elif step.real is not None and step.op is Op.REMOVE_REAL:
            self.draining.forget(step.virtual, step.real)
        elif step.op is Op.EDIT_REAL and step.real not in self.desired.reals.get(step.virtual, ()):
            # its weight is 0 now: whether it still has, or got, connections is to be seen at once
            self._removals[TableKey(step.virtual, step.real if step.virtual in self.desired.virtuals else None)] = None

    def _fail(self, step: Step, error: int) -> None:
        if error in _OUT_OF_DATE and self._rereads[step.virtual] < _REREADS:
            self.stale[step.virtual] = None
        else:
            self._put_off(TableKey(step.virtual, step.real), error)

    def _put_off(self, place: TableKey, error: int) -> None:
        self.failed[place] = error
        self._troubled.add(place.virtual)

    def _mark(self, place: TableKey) -> None:
        reals = self.desired.reals.get(place.virtual)
        if reals is None and place.virtual in self.draining and place.virtual not in self._unwanted:
            # it has begun to go
            self._removals[TableKey(place.virtual)] = None
        elif reals is None:
            self._departures[place.virtual] = None
        elif place.real is None or place.real in reals:
            self._additions[place] = None
        else:
            self._removals[place] = None

    def _mark_all(self, virtual: VirtualServer) -> None:
        self._mark(TableKey(virtual))
        for reals in (self.desired.reals, self.actual.reals):
            for real in reals.get(virtual, ()):
                self._mark(TableKey(virtual, real))

    def _ours(self, virtual: VirtualServer) -> bool:
        return virtual in self.desired.virtuals or virtual in self.owned

    def _set_timeout(self, virtual: VirtualServer, seconds: float) -> None:
        if self.draining.timeout(virtual) != seconds:
            self.draining.set_timeout(virtual, seconds)
            if virtual in self.owned:
                self._ownership[virtual] = True

    def _own(self, virtual: VirtualServer) -> None:
        if virtual not in self.owned:
            self.owned.add(virtual)
            self._ownership[virtual] = True

    def _depart(self, virtual: VirtualServer) -> None:
        if virtual in self._unwanted:
            self._unwanted.remove(virtual)
            self._departed.append(virtual)

    def _forget(self, virtual: VirtualServer) -> None:
        """Keep nothing of a virtual server that is neither wanted nor there."""
        if virtual in self.owned:
            self.owned.remove(virtual)
            self._ownership[virtual] = False
        self.draining.forget_all(virtual)
        self._awaited.discard(virtual)
