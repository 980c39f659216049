"""What leaves the configuration stays in force until it may go: the last stage before the writer.

The merger says what is wanted by the configuration and the verdicts. Here what it no longer wants
is kept, as it was, until

* the configuration has come to rest, as the same servers may come back under another name
  a moment later,
* the removal is not held (see `removal_hold`), and
* the backends that replace a real server in its virtual server have proven themselves: of the
  weight that leaves, only so much goes as has been gained meanwhile. That ends when all of them
  have been in rotation, are gone, or had their time, and at the latest as long after the real server was
  allowed to leave as one of them may take at most: others that come for those that failed add nothing.

So the writer sees one table that is right at every moment. What health removes (`on_down`) is not kept.
What is found in the kernel at the start, and is not wanted, is treated as if it had just left. Pure: time is
an argument, in seconds on any clock that does not go back.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf

from clusterf.director.departures import Departure, Departures
from clusterf.director.merger import Merged, Origin, RealServerWanted, VirtualServerWanted
from clusterf.director.removal_hold import LONGEST, Decision, HoldPolicy, Removal, RemovalHold
from clusterf.director.unproven import GRACE, Proving
from clusterf.director.unproven import LONGEST as LONGEST_PROVING
from clusterf.ipvs.table import (
    RealServer,
    RealServerSettings,
    Table,
    VirtualServer,
    VirtualServerSpec,
    VirtualServerState,
)
from clusterf.reconcile.kept_record import NONE_KEPT, Kept

__all__ = ["Retention"]

log = logging.getLogger(__name__)

_UNKNOWN = Origin(None)
_WAIT = LONGEST_PROVING + GRACE  # seconds that a real server waits for those that replace it, whichever these are

Find = Callable[[VirtualServer], VirtualServerState | None]
ProvingOf = Callable[[VirtualServer, float], Proving]


class Retention:
    """Passes on what is wanted, and keeps what is in force until it may be removed.

    Before `begin`, and if `policy` is None, everything is passed on as it is. `proving` tells how it
    stands with the backends of a virtual server that are unproven. `find` reads one
    virtual server in the kernel, None: it does not exist. It is called when one is wanted that
    was not passed on before, as somebody else may have made it, or we, without a record.
    """

    def __init__(self, policy: HoldPolicy | None, find: Find = lambda _virtual: None) -> None:
        self.hold = RemovalHold(policy or HoldPolicy())
        self._keeps = policy is not None
        self._find = find
        # the real servers with weight of virtual servers that were found since the last `take`
        self._found: dict[VirtualServer, dict[RealServer, RealServerSettings]] = {}
        self._begun = False
        # what was passed on, and has not been withdrawn
        self._in_force: dict[VirtualServer, dict[RealServer, RealServerSettings]] = {}
        self._weight = 0
        self._weighted = 0
        # for how many seconds verdicts that took weight from real servers would count without a check
        self._lapses: dict[VirtualServer, dict[RealServer, float]] = {}
        # what is to leave and has not been allowed to
        self._departures = Departures()
        # what is allowed to leave, and waits for the backends that replace it, until then at most
        self._replaced: dict[VirtualServer, dict[RealServer, float]] = {}
        # the weight that other real servers have gained since the first one was to leave
        self._gained: dict[VirtualServer, int] = {}

    def begin(
        self, found: Table, ours: Mapping[VirtualServer, float], now: float = 0.0, before: Kept = NONE_KEPT
    ) -> Iterator[Merged]:
        """Keep from now on; yield what is in the table found at the start and ours, but not wanted.

        `ours` are virtual servers that were added by us, with the seconds that their real
        servers may drain; others are left alone unless they are wanted. `before`: what was kept
        for doubts of the director before.
        """
        if not self._keeps:
            return
        self._begun = True
        self._departures.resume(before)
        for virtual, settings in found.virtuals.items():
            wanted = virtual in self._in_force
            if not wanted and virtual not in ours:
                continue
            if not wanted:
                self._in_force[virtual] = {}
                yield VirtualServerWanted(virtual, VirtualServerSpec(settings, ours[virtual]))
                self._departures.add_virtual(virtual, Departure(_UNKNOWN, now))
            yield from self._keep_found(virtual, found.reals[virtual], now)
        self._departures.decided()
        self._log_kept()

    @property
    def waits(self) -> bool:
        """Whether something is to leave, and may not yet."""
        return bool(self._departures or self._replaced)

    @property
    def kept(self) -> Kept:
        """What is kept for doubts though it is not wanted."""
        return self._departures.kept

    def doubt_found(self, source: str, reason: str | None, now: float) -> None:
        """Keep what is found and not wanted, as it may be of the source, `reason` says why; None: no longer."""
        self._departures.doubt(source, reason)
        if not self._departures.doubts:
            self._release_kept(now)

    def confirm(self, now: float) -> None:
        """Allow the removals that are held, and of what is kept though it is not wanted."""
        self.hold.confirm(now, follows=bool(self.kept.servers))
        self._release_kept(now)

    def settings(self, virtual: VirtualServer, real: RealServer) -> RealServerSettings | None:
        """Return the settings that the real server has in force; None: it is not, or nothing is kept yet."""
        if not self._begun:
            return None
        reals = self._in_force.get(virtual)
        return (self._find_reals(virtual) if reals is None else reals).get(real)

    def lapse(self, virtual: VirtualServer, real: RealServer) -> float:
        """Return for how many seconds verdicts that took weight from the real server count without a check."""
        return self._lapses.get(virtual, {}).get(real, 0.0)

    def take(self, items: Iterable[Merged], now: float = 0.0) -> Iterator[Merged]:
        """Yield of `items` what is to be passed on now: all but removals that follow from the configuration."""
        items = list(items)
        # what leaves comes first, so that what is gained in the same change counts
        for item in items:
            if isinstance(item, VirtualServerWanted) and item.claim is None:
                yield from self._unwant_virtual(item, now)
            elif isinstance(item, RealServerWanted) and item.settings is None:
                yield from self._unwant_real(item, now)
                self._note_lapse(item)
        for item in items:
            if isinstance(item, VirtualServerWanted):
                if item.claim is not None:
                    if self._begun and item.virtual not in self._in_force:
                        self._find_reals(item.virtual)
                    self._in_force.setdefault(item.virtual, {})
                    self._departures.discard_virtual(item.virtual)
                    yield item
            elif isinstance(item, RealServerWanted):
                if item.settings is not None:
                    self._stay(item.virtual, item.real)
                    self._put(item.virtual, item.real, item.settings)
                    self._note_lapse(item)
                    yield item
            else:
                yield item
        for virtual, reals in self._found.items():
            if virtual in self._in_force:
                yield from self._keep_found(virtual, reals, now)
        self._found = {}

    def release(self, now: float, proving: ProvingOf) -> Iterator[Merged]:
        """Yield the removals that may be done now."""
        if not self._departures:
            self.hold.end()
        else:
            match self.hold.judge(now, self._removal()):
                case Decision.ALLOWED:
                    yield from self._allow(inf, now)
                case Decision.OVERDUE:
                    # what has only just left may be part of a change of which more follows
                    yield from self._allow(now - LONGEST, now)
        for virtual in list(self._replaced):
            yield from self._replace(virtual, proving(virtual, now), now)

    def due(self, now: float, proving: ProvingOf) -> float | None:
        """Return in how many seconds `release` may have more to yield, though nothing else changes; None: never."""
        delays = [self.hold.due(now)] if self._departures else []
        for virtual, waiting in self._replaced.items():
            until = proving(virtual, now).until
            if until is not None:
                delays.append(max(min(until, *waiting.values()) - now, 0.0))
        return min(delays, default=None)

    def _release_kept(self, now: float) -> None:
        if self.kept.servers:
            log.warning("ipvs: what is not configured is no longer kept")
        self._departures.release_kept(now)
        for virtual in self._departures.reals:
            self._gained.setdefault(virtual, 0)

    def _log_kept(self) -> None:
        kept = self.kept.servers
        if kept:
            log.error(
                "ipvs: %d virtual servers and %d real servers are not configured, and kept "
                "until clusterf config confirm, or until that ends: %s",
                sum(real is None for _, real in kept),
                sum(real is not None for _, real in kept),
                "; ".join(f"{source}: {reason}" for source, reason in self._departures.doubts.items()),
            )

    def _allow(self, latest: float, now: float) -> Iterator[Merged]:
        """Have removed, or replaced, what was to leave at `latest` or before."""
        virtuals, reals = self._departures.take(latest)
        for virtual in virtuals:
            self._forget(virtual)
            yield VirtualServerWanted(virtual, None)
        for virtual, real in reals:
            self._replaced.setdefault(virtual, {})[real] = now + _WAIT

    def _find_reals(self, virtual: VirtualServer) -> Mapping[RealServer, RealServerSettings]:
        """Return the real servers with weight that a virtual server has in the kernel; it is read once for a `take`."""
        if virtual not in self._found:
            state = self._find(virtual)
            reals = {} if state is None else state[1]
            self._found[virtual] = {real: settings for real, settings in reals.items() if settings.weight}
        return self._found[virtual]

    def _keep_found(
        self, virtual: VirtualServer, reals: Mapping[RealServer, RealServerSettings], now: float
    ) -> Iterator[RealServerWanted]:
        """Keep the real servers that were found and are not wanted, as if they had just left."""
        left = [real for real in reals if real not in self._in_force[virtual]]
        for real in left:
            self._put(virtual, real, reals[real])
            yield RealServerWanted(virtual, real, reals[real])
        # only now, as what was there is no gain
        for real in left:
            self._depart(virtual, real, _UNKNOWN, now)

    def _removal(self) -> Removal:
        leaving = self._departures
        return Removal(
            *(len(self._in_force), len(leaving.virtuals)),
            *(self._weighted, leaving.weighted, self._weight, leaving.weight),
            one_cause=leaving.one_cause,
        )

    def _replace(self, virtual: VirtualServer, proving: Proving, now: float) -> Iterator[Merged]:
        """Yield the removals of real servers that are replaced, or are not to be replaced any longer."""
        waiting = self._replaced[virtual]
        replaced = dict.fromkeys(real for real in waiting if self._may_go(virtual, real, proving))
        given_up = [real for real, until in waiting.items() if until <= now and real not in replaced]
        released = [*replaced, *given_up]
        late = released if proving.until is None else given_up
        weight = sum(self._in_force[virtual][real].weight > 0 for real in late)
        if proving.unproven and weight:
            log.error(
                "ipvs: %s: %d real servers removed; of the backends that replace them %d were not up in time",
                *(virtual, weight, proving.unproven),
            )
        for real in released:
            self._put(virtual, real, None)
            self._lapses.get(virtual, {}).pop(real, None)
            del waiting[real]
            yield RealServerWanted(virtual, real, None)
        if not waiting:
            del self._replaced[virtual]
            if virtual not in self._departures.reals:
                self._gained.pop(virtual, None)

    def _may_go(self, virtual: VirtualServer, real: RealServer, proving: Proving) -> bool:
        """Tell whether the real server may go now; if so, spend the weight that replaces its own."""
        weight = self._in_force[virtual][real].weight
        if not weight or proving.until is None:
            return True
        if weight > self._gained.get(virtual, 0) - proving.weight:
            return False
        self._gained[virtual] -= weight
        return True

    def _unwant_virtual(self, item: VirtualServerWanted, now: float) -> Iterator[Merged]:
        if item.virtual not in self._in_force:
            return
        if not self._begun:
            self._forget(item.virtual)
            yield item
            return
        self._replaced.pop(item.virtual, None)
        self._departures.add_virtual(item.virtual, Departure(item.origin, now))
        for real in self._in_force[item.virtual]:
            self._depart(item.virtual, real, item.origin, now)

    def _unwant_real(self, item: RealServerWanted, now: float) -> Iterator[Merged]:
        virtual, real = item.virtual, item.real
        if real not in self._in_force.get(virtual, ()) or virtual in self._departures.virtuals:
            return
        if self._begun and item.origin is not None:
            if real not in self._replaced.get(virtual, ()):
                self._depart(virtual, real, item.origin, now)
            return
        self._stay(virtual, real)
        self._put(virtual, real, None)
        yield item

    def _depart(self, virtual: VirtualServer, real: RealServer, origin: Origin, now: float) -> None:
        self._gained.setdefault(virtual, 0)
        self._departures.add_real(virtual, real, Departure(origin, now, self._in_force[virtual][real].weight))

    def _stay(self, virtual: VirtualServer, real: RealServer) -> None:
        if real not in self._in_force.get(virtual, ()):
            return
        self._departures.discard_real(virtual, real)
        waiting = self._replaced.get(virtual, {})
        waiting.pop(real, None)
        if not waiting:
            self._replaced.pop(virtual, None)
            if virtual not in self._departures.reals:
                self._gained.pop(virtual, None)

    def _note_lapse(self, item: RealServerWanted) -> None:
        """Remember that verdicts took weight from a real server, until it has weight or is gone."""
        if item.lapse:
            self._lapses.setdefault(item.virtual, {})[item.real] = item.lapse
        elif item.settings is not None or item.real not in self._in_force.get(item.virtual, ()):
            self._lapses.get(item.virtual, {}).pop(item.real, None)

    def _put(self, virtual: VirtualServer, real: RealServer, settings: RealServerSettings | None) -> None:
        reals = self._in_force[virtual]
        old = reals.pop(real, None)
        if settings is not None:
            reals[real] = settings
        before, after = (each.weight if each is not None else 0 for each in (old, settings))
        self._weight += after - before
        self._weighted += (after > 0) - (before > 0)
        if virtual in self._gained and real not in self._replaced.get(virtual, ()):
            self._gained[virtual] += after - before

    def _forget(self, virtual: VirtualServer) -> None:
        for real in list(self._in_force[virtual]):
            self._put(virtual, real, None)
        del self._in_force[virtual]
        self._lapses.pop(virtual, None)
        self._replaced.pop(virtual, None)
        self._gained.pop(virtual, None)
