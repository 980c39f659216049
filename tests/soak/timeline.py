"""What was wanted, working and in the table at which time, from a history.

Each thing that was done has two times; where that matters, `widest` periods are as
long as they may have been, and `narrowest` ones as long as they were for certain.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from tests.soak.history import Change, Configuration, History, Real, Virtual
from tests.soak.periods import ALWAYS, Delays, Period, common, inverted, merged
from tests.soak.servers import HEALTHY

__all__ = ["RECOVERY", "Timeline", "Weight"]

SLOW = 10.0  # seconds after a second without idle CPU, in which things took longer
RECOVERY = 20.0  # seconds after a fault until its effects are over: a start of the node, a back-off of 5 s


class Weight(NamedTuple):
    """A change of a real server's weight, None: it was or is not there."""

    begin: float
    end: float
    before: int | None
    now: int | None

    @property
    def lost(self) -> bool:
        """Whether it had weight, and has none."""
        return bool(self.before) and not self.now

    @property
    def gained(self) -> bool:
        """Whether it had no weight, and has some."""
        return not self.before and bool(self.now)


class Timeline:
    """A history, by virtual server and real server."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.changes: dict[Virtual, list[Change]] = {}
        for change in history.changes:
            self.changes.setdefault(change.virtual, []).append(change)
        self.configurations = _periods_of(history.configurations)
        self._failing: dict[tuple[str, bool], list[Period]] = {}

    @cached_property
    def ours(self) -> set[Virtual]:
        """All virtual servers that were ever configured."""
        return {virtual for configuration, _ in self.configurations for virtual in configuration.weights}

    @cached_property
    def delays(self) -> Delays:
        """When faults may have delayed the node."""
        faults = [action for action in self.history.actions if action.kind in {"fault", "exit", "restart"}]
        busy = [Period(busy.begin, busy.end + SLOW) for busy in self.history.busy]
        cuts = [calm.end for calm in self.history.calms if calm.kind == "exact" and not calm.text]
        return Delays([*busy, *(Period(fault.begin, fault.end + RECOVERY) for fault in faults)], cuts)

    def reals(self, virtual: Virtual) -> list[Real]:
        """Return all real servers that a virtual server ever had."""
        return sorted({real for change in self.changes.get(virtual, ()) for real in change.reals})

    def weights(self, virtual: Virtual, real: Real) -> Iterator[Weight]:
        """Yield each change of the weight of a real server."""
        before = None
        for change in self.changes.get(virtual, ()):
            server = change.reals.get(real)
            now = server.weight if server is not None else None
            if now != before:
                yield Weight(change.begin, change.end, before, now)
            before = now

    def states(self, virtual: Virtual) -> Iterator[tuple[Period, Change]]:
        """Yield each state of a virtual server, and how long it may have been in force."""
        changes = self.changes.get(virtual, [])
        ends = [change.end for change in changes[1:]] + [ALWAYS.end]
        for change, end in zip(changes, ends, strict=True):
            yield Period(change.begin, end), change

    def configured(self, holds: Callable[[Configuration], bool]) -> list[Period]:
        """Return when, at the widest, a condition held for the configuration."""
        return merged(period for configuration, period in self.configurations if holds(configuration))

    def unwanted(self, virtual: Virtual, real: Real) -> list[Period]:
        """Return when a real server was not to have weight, even if all backends are up."""
        return self.configured(lambda configuration: not configuration.weights.get(virtual, {}).get(real))

    def without_successors(self, virtual: Virtual, real: Real) -> list[Period]:
        """Return when a real server was not to have weight any more, and no other one had been added since it was."""
        found: list[Period] = []
        last: set[Real] = set()
        for configuration, period in self.configurations:
            wanted = {each for each, weight in configuration.weights.get(virtual, {}).items() if weight}
            if real in wanted:
                last = wanted
            elif wanted <= last:
                found.append(period)
        return merged(found)

    def failing(self, address: str, *, narrowest: bool = False) -> list[Period]:
        """Return when the backend at an address was not healthy."""
        key = address, narrowest
        if key not in self._failing:
            starved = [] if narrowest else self.starved("servers")
            self._failing[key] = merged([*_failing(self.history, address, narrowest=narrowest), *starved])
        return self._failing[key]

    def starved(self, who: str) -> list[Period]:
        """Return when somebody was starved of CPU; backends that are, fail."""
        return [Period(busy.begin, busy.end) for busy in self.history.busy if busy.who == who]

    def failed(self, virtual: Virtual, real: Real, *, narrowest: bool = False) -> list[Period]:
        """Return when all backends of a real server were failing, while it was wanted."""
        host = real.rpartition(":")[0]
        if host in self.addresses:
            return self.failing(host, narrowest=narrowest)
        found: list[Period] = []
        for configuration, period in self.configurations:
            found += self._all_failing(
                configuration.backends.get(virtual, {}).get(real, frozenset()), period, narrowest
            )
        return merged(found)

    def working_pool(
        self, configuration: Configuration, period: Period, virtual: Virtual, found: float = 0.0
    ) -> list[Period]:
        """Return when, within a period, a wanted backend of a virtual server was healthy.

        One that recovers counts `found` seconds later, not counting delays.
        """
        wanted = configuration.weights.get(virtual, {})
        backends = configuration.backends.get(virtual, {})
        addresses = {address for real, weight in wanted.items() if weight for address in backends.get(real, ())}
        failing = ([self._lasting(p, found) for p in self.failing(address)] for address in addresses)
        return [] if not addresses else common([period], _healthy(map(merged, failing)))

    def _lasting(self, period: Period, seconds: float) -> Period:
        return Period(period.begin, self.delays.until(period.end) + seconds) if seconds else period

    def by_hand(self, virtual: Virtual, lasts: float) -> list[Period]:
        """Return when a virtual server may have been as somebody else made it: `lasts` seconds, without delays."""
        actions = [action for action in self.history.actions if action.kind == "hand" and action.subject == virtual]
        return [Period(action.begin, self.delays.until(action.end) + lasts) for action in actions]

    @cached_property
    def addresses(self) -> set[str]:
        """All addresses of backends that were ever configured."""
        return {
            address
            for configuration, _ in self.configurations
            for reals in configuration.backends.values()
            for addresses in reals.values()
            for address in addresses
        }

    def _all_failing(self, addresses: frozenset[str], period: Period, narrowest: bool) -> list[Period]:
        if not addresses:
            return []
        found = [period]
        for address in addresses:
            found = common(found, self.failing(address, narrowest=narrowest))
        return found


def _periods_of(configurations: list[Configuration]) -> list[tuple[Configuration, Period]]:
    """Return each configuration with how long it may have been in force; before the first there is an empty one."""
    configurations = [Configuration(ALWAYS.begin, ALWAYS.begin, "", {}, {}), *configurations]
    ends = [configuration.end for configuration in configurations[1:]] + [ALWAYS.end]
    return [(c, Period(c.begin, end)) for c, end in zip(configurations, ends, strict=True)]


def _failing(history: History, address: str, *, narrowest: bool) -> Iterator[Period]:
    actions = [action for action in history.actions if action.kind == "health" and action.subject == address]
    for action, following in pairwise([*actions, None]):
        if action is None or action.text == HEALTHY:
            continue
        begin = action.end if narrowest else action.begin
        end = ALWAYS.end if following is None else following.begin if narrowest else following.end
        yield Period(begin, end)


def _healthy(failing: Iterator[list[Period]]) -> list[Period]:
    """Return when, at the narrowest, one of several backends was healthy, from when each was failing."""
    whole = [ALWAYS]
    for periods in failing:
        whole = common(whole, periods)
    return inverted(whole)
