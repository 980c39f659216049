"""A wiped configuration must not wipe the table: large removals are held.

An empty restore of etcd, a deleted prefix or an empty tree looks like a request to
remove everything. So when the configuration no longer has what carries more than
half of the weight in force, or more than half of the virtual servers, that stays for a
while, which is logged, and is removed if it is still not desired then, or at once when the
operator confirms it. What is restored within the hold is never removed.

A step of which all belongs to one service, or all was published by one node, is no
wipe: a service was deleted, or a Docker host has died. While a source of the
configuration is in doubt, as it may be another one than before, every removal is held, and
without a limit. Time is an argument, in seconds on any clock that does not go back.
"""

import logging
from collections.abc import Hashable
from enum import Enum, auto
from math import inf
from typing import NamedTuple

__all__ = ["CALM", "FOLLOWS", "LONGEST", "Decision", "HoldPolicy", "Removal", "RemovalHold"]

log = logging.getLogger(__name__)

CALM = 0.1
"""Seconds without a change of the configuration after which it is taken as complete."""

LONGEST = 2.0
"""Seconds after which it is taken as complete although it goes on changing."""

SILENT = 10.0
"""Seconds for which a hold may go on, until the sources have shown that they are read, before that is logged."""

FOLLOWS = 10.0
"""Seconds after the end of a doubt that was confirmed in which the source may remove what it had to keep."""


class HoldPolicy(NamedTuple):
    """When removals are held, and for how many `seconds`; 0: only while a source is in doubt.

    A removal is large if it takes more than `share` percent, of at least `least` virtual
    servers or real servers with weight that are in force.
    """

    seconds: float = 60.0
    share: float = 50.0
    least: int = 10


class Removal(NamedTuple):
    """What is in force, and how much of that leaves, as the configuration no longer has it.

    Only real servers with weight count. `one_cause`: all that leaves belongs to one
    service, or was published by one node.
    """

    virtuals: int = 0
    virtuals_leaving: int = 0
    reals: int = 0
    reals_leaving: int = 0
    weight: int = 0
    weight_leaving: int = 0
    one_cause: bool = False

    def size(self, policy: HoldPolicy) -> str | None:
        """Return how large the removal is, None: not large."""
        if self.one_cause:
            return None
        if self.virtuals >= policy.least and 100 * self.virtuals_leaving > policy.share * self.virtuals:
            return f"{self.virtuals_leaving} of {self.virtuals} virtual servers"
        if self.reals >= policy.least and 100 * self.weight_leaving > policy.share * self.weight:
            percent = 100 * self.weight_leaving // self.weight
            return f"{self.reals_leaving} of {self.reals} real servers ({percent} % of the weight)"
        return None


class Decision(Enum):
    """Whether what the configuration no longer has may be removed now.

    OVERDUE: what it has not had for `LONGEST` seconds may.
    """

    ALLOWED = auto()
    OVERDUE = auto()
    WAIT = auto()
    HELD = auto()


class RemovalHold:
    """Decides when removals may be done, and logs when a hold begins and ends."""

    def __init__(self, policy: HoldPolicy) -> None:
        self._policy = policy
        # when the configuration changed last, and since when a removal waits for the rest of a change
        self._changed: float | None = None
        self._waiting_since: float | None = None
        # when the present removal was confirmed; None: it was not
        self._confirmed: float | None = None
        # until when removals follow from the end of a doubt that was confirmed; infinite: the doubt goes on
        self._following: float | None = None
        # when the process that reads the configuration ran last, and of what moment it knows the sources; infinite:
        # nobody says
        self._alive = self._sources_known = inf
        # until when the present removal is held; None: it is not
        self._until: float | None = None
        # whether it was logged that they are held beyond that
        self._beyond = False
        # why removals by a source are not believed
        self._doubts: dict[Hashable, str] = {}
        # the sources of which a change is under way
        self._changing: set[Hashable] = set()
        # whether the configuration is known as a whole
        self._complete = True

    @property
    def until(self) -> float | None:
        """Until when removals are held for their size, None: they are not."""
        return self._until if self._until != inf else None

    def alive(self, now: float, known: float) -> None:
        """Note that the process that reads the configuration has just run; from now on that is noted regularly.

        `known` is the last moment of which it knows what the sources were.
        """
        self._alive, self._sources_known = now, known

    def known(self, now: float) -> float:
        """Return the last moment of which it is known what the configuration was; before all: it is held."""
        if self._until is not None:
            return -inf
        return min(now, self._alive)

    def resume(self, now: float, until: float) -> None:
        """Go on with a hold that the director before had begun, no longer than a hold takes now."""
        until = min(until, now + self._policy.seconds)
        if until > now:
            # it does not end before the config process, which may have started, too, has read the sources
            self._until, self._sources_known = until, -inf
            log.error(
                "ipvs: removals are held for %.0f more seconds, or until clusterf config confirm, as before the start",
                until - now,
            )

    def changed(self, now: float) -> None:
        """Note that the configuration has changed, and may be about to change more."""
        self._changed = now

    def complete(self, complete: bool) -> None:
        """Note whether the configuration is known as a whole: if not, nothing is removed."""
        self._complete = complete

    def doubt(self, source: Hashable, reason: str | None, *, passing: bool = False) -> None:
        """Note why removals by the source are not believed; None: they are, as of the last change.

        `passing`: it only tells that a change is not complete yet.
        """
        if passing and reason is None:
            self._changing.discard(source)
        elif passing:
            self._changing.add(source)
        elif reason is None:
            self._doubts.pop(source, None)
            if self._following == inf and not self._doubts:
                self._following = (self._changed or 0.0) + FOLLOWS
        else:
            self._doubts[source] = reason

    def confirm(self, now: float, *, follows: bool = False) -> None:
        """Allow the removal that is held; those to come are not, but for those that follow from the end of a doubt.

        A doubt is withdrawn by its source, which is confirmed, too, and what is to be removed may be
        other things then. So the removal waits for that, at most `LONGEST` seconds. `follows`: there is more to
        remove because of the confirmation.
        """
        self._confirmed = now if self._until is not None else None
        self._following = inf if self._doubts else now + FOLLOWS if follows else None

    def end(self) -> None:
        """Note that nothing is to be removed."""
        self._waiting_since = None
        self._end_hold()
        if not self._changing:
            self._end_following()

    def due(self, now: float) -> float:
        """Return in how many seconds to judge again a removal that is not allowed now; infinite: when that changes."""
        if not self._complete:
            return inf
        if self._until is None:
            return CALM
        until = self._until if self._confirmed is None else min(self._until, self._confirmed + LONGEST)
        return max(until - now, 0.0) if until > now or self._confirmed is not None else inf

    def judge(self, now: float, removal: Removal) -> Decision:
        """Tell whether `removal` may be done. WAIT and HELD: judge it again when it is `due`."""
        if not self._complete:
            return Decision.WAIT
        doubt = next(iter(self._doubts.values()), None)
        follows = doubt is None and self._following is not None and now < self._following
        size = removal.size(self._policy) if self._policy.seconds and not follows else None
        # (what is left of a large removal that is held stays held, as its rest may be on the way back)
        if doubt is None and size is None and (follows or self._until in {None, inf}):
            self._end_hold()
            decision = self._wait(now)
            if decision is Decision.ALLOWED:
                self._end_following()
            return decision
        confirmed = self._confirmed is not None and (doubt is None or now - self._confirmed >= LONGEST)
        if confirmed or (doubt is None and self._until is not None and self._until <= min(now, self._sources_known)):
            self._end_hold()
            return Decision.ALLOWED
        if doubt is None and self._until is not None and self._until <= now - SILENT:
            self._log_beyond()
        self._begin(now, doubt, size)
        return Decision.HELD

    def _log_beyond(self) -> None:
        if not self._beyond:
            self._beyond = True
            log.error("ipvs: removals are held on, as the sources cannot be read, or until clusterf config confirm")

    def _end_hold(self) -> None:
        if self._until is not None:
            log.warning("ipvs: removals are no longer held")
        self._until, self._confirmed, self._beyond = None, None, False

    def _end_following(self) -> None:
        """Note that what follows from the end of a doubt is done: what comes now is another removal."""
        if self._following != inf:
            self._following = None

    def _wait(self, now: float) -> Decision:
        """Tell whether a removal waits: a change may arrive in parts, and a few removals be the beginning of many."""
        calm = self._changed is None or now - self._changed >= CALM
        if self._waiting_since is None:
            self._waiting_since = now
        if calm and not self._changing:
            self._waiting_since = None
            return Decision.ALLOWED
        if now - self._waiting_since >= LONGEST:
            self._waiting_since = None
            return Decision.OVERDUE
        return Decision.WAIT

    def _begin(self, now: float, doubt: str | None, size: str | None) -> None:
        """Hold the removal, unless it is held for the same reason already."""
        if doubt is not None and self._until != inf:
            self._until = inf
            log.error("ipvs: removals are held until clusterf config confirm: %s", doubt)
        elif doubt is None and self._until in {None, inf}:
            self._until = now + self._policy.seconds
            log.error(
                "ipvs: %s would be removed at once: held for %.0f seconds, or until clusterf config confirm",
                *(size, self._policy.seconds),
            )
