"""Backends that a verdict took out of rotation, and whose check has gone since, alone or with them.

A check may go for a moment, and nobody probes them in the meantime. So they stay out
for a while before health no longer counts for them. Those that leave are remembered for as long: one that
is back in time is out as before. Times are in seconds, on one clock.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from math import inf
from typing import NamedTuple

from clusterf.config.model import Name
from clusterf.ipvs.table import RealServer, VirtualServer

__all__ = ["Lapses", "Membership"]

Membership = tuple[Name, Name, VirtualServer]
"""Of a service's backend in a virtual server."""


class _Left(NamedTuple):
    """The real server that a member was that has left, None: not known, and until when that matters."""

    real: RealServer | None
    until: float


class Lapses:
    """Until when each of these members stays out of rotation.

    `known` is the last moment of which the configuration is known: none is due after it.
    """

    def __init__(self) -> None:
        self.known = inf
        self._until: dict[Membership, float] = {}
        # by time; entries that are not in force any more are skipped when they are due
        self._queue: list[tuple[float, int, Membership]] = []
        self._order = count()
        # members that have left; those of them whose time runs from the next `stamp` on, with its seconds
        self._left: dict[Membership, _Left] = {}
        self._leaving: dict[Membership, tuple[RealServer, float]] = {}
        # those of them that are back before that
        self._returning: dict[Membership, float] = {}

    @property
    def all(self) -> Mapping[Membership, float]:
        """Until when each member stays out, those included that have left."""
        return self._until | {membership: left.until for membership, left in self._left.items()}

    @property
    def first(self) -> float | None:
        """When the first of them is due, None: there is none."""
        while self._queue and self._queue[0][0] not in self._times(self._queue[0][2]):
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def until(self, membership: Membership) -> float | None:
        """Return until when the member stays out, or is remembered; None: it is not said."""
        left = self._left.get(membership)
        return self._until.get(membership) if left is None else left.until

    def begin(self, membership: Membership, until: float) -> None:
        """Have the member stay out until then, unless there is a time for it."""
        if membership not in self._until:
            self._until[membership] = until
            self._push(membership, until)

    def waits(self, membership: Membership, seconds: float, now: float) -> bool:
        """Tell whether the member is still to stay out, `seconds` from the first call on."""
        self.begin(membership, now + seconds)
        return min(now, self.known) < self._until[membership]

    def move(self, before: Membership, after: Membership) -> None:
        """Have the time of a member that moves go on, if it runs."""
        until = self._until.get(before)
        if until is not None:
            self.begin(after, until)

    def discard(self, membership: Membership) -> None:
        """Note that the member is in rotation, has a check again, or is gone."""
        self._until.pop(membership, None)
        self._returning.pop(membership, None)

    def leave(self, membership: Membership, real: RealServer, seconds: float) -> None:
        """Remember a member that is out, and leaves, for so many seconds, or as long as it would have stayed out."""
        until = self._until.pop(membership, None)
        seconds = self._returning.pop(membership, seconds)
        if until is not None:
            self.remember(membership, real, until)
        elif seconds:
            self._leaving[membership] = real, seconds

    def remember(self, membership: Membership, real: RealServer | None, until: float) -> None:
        """Remember until then a member that was out when it left, as this real server; None: as any."""
        self._left[membership] = _Left(real, until)
        self._push(membership, until)

    def has_left(self, membership: Membership) -> bool:
        """Tell whether a member is remembered."""
        return membership in self._left or membership in self._leaving

    def is_back(self, membership: Membership, real: RealServer) -> bool:
        """Tell whether a member that joins is one that is remembered; its time runs on. It is remembered no longer."""
        was, seconds = self._leaving.pop(membership, (None, 0.0))
        left = self._left.pop(membership, None)
        if was == real:
            self._returning[membership] = seconds
        elif left is not None and left.real in {None, real}:
            self.begin(membership, left.until)
        else:
            return False
        return True

    def stamp(self, now: float) -> Sequence[Membership]:
        """Have the time of those run that have left since the last call, and return them."""
        leaving, self._leaving = self._leaving, {}
        for membership, (real, seconds) in leaving.items():
            self.remember(membership, real, now + seconds)
        returning, self._returning = self._returning, {}
        for membership, seconds in returning.items():
            self.begin(membership, now + seconds)
        return [*leaving, *returning]

    def due(self, now: float) -> Iterator[Membership]:
        """Yield the members whose time is over; those that have left are forgotten."""
        while self.first is not None and self._queue[0][0] <= min(now, self.known):
            until, _, membership = heapq.heappop(self._queue)
            if membership in self._left and self._left[membership].until == until:
                del self._left[membership]
            yield membership

    def _push(self, membership: Membership, until: float) -> None:
        heapq.heappush(self._queue, (until, next(self._order), membership))

    def _times(self, membership: Membership) -> Iterator[float]:
        """Yield the times that are in force for a member."""
        if membership in self._until:
            yield self._until[membership]
        if membership in self._left:
            yield self._left[membership].until
