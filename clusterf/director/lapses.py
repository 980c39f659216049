"""Backends that a verdict took out of rotation, and whose check has gone since.

A check may go for a moment, and nobody probes them in the meantime. So they stay out
for a while before health no longer counts for them. Times are in seconds, on one clock.
"""

import heapq
from collections.abc import Iterator, Mapping
from itertools import count
from math import inf

from clusterf.config.model import Name
from clusterf.ipvs.table import VirtualServer

__all__ = ["Lapses", "Membership"]

Membership = tuple[Name, Name, VirtualServer]
"""Of a service's backend in a virtual server."""


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

    @property
    def all(self) -> Mapping[Membership, float]:
        """Until when each member stays out."""
        return self._until

    @property
    def first(self) -> float | None:
        """When the first of them is due, None: there is none."""
        while self._queue and self._until.get(self._queue[0][2]) != self._queue[0][0]:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def until(self, membership: Membership) -> float | None:
        """Return until when the member stays out, None: it is not said."""
        return self._until.get(membership)

    def begin(self, membership: Membership, until: float) -> None:
        """Have the member stay out until then, unless there is a time for it."""
        if membership not in self._until:
            self._until[membership] = until
            heapq.heappush(self._queue, (until, next(self._order), membership))

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

    def due(self, now: float) -> Iterator[Membership]:
        """Yield the members whose time is over."""
        while self.first is not None and self._queue[0][0] <= min(now, self.known):
            yield heapq.heappop(self._queue)[2]
