"""Containers that are about to end, as far as only events have shown it, and until when that is believed.

A signal applies to the run that a container is in, and a run is identified by
its start time. Between a start event and the next inspection that time is
unknown, so signals are deferred to the inspection, which shows whether the run
began before them. Until then they count.

A container may go on after all. An `oom` event counts for `OOM_SECONDS` only: the
kernel may have killed a process other than the container's main one; if it was that
one, a `die` event follows within milliseconds. And a stop signal may be ignored, and
nothing come after it: it counts until the engine should have killed the container.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from math import inf
from typing import Final

from clusterf.docker.containers import Container

__all__ = ["LIVE", "OOM_SECONDS", "STOP_SECONDS", "StopTracker", "was_stopped"]

OOM_SECONDS: Final = 1.5
"""Seconds for which an `oom` event counts."""

STOP_SECONDS: Final = 10
"""Seconds from the stop signal until the engine kills a container that has no time limit of its own (`docker stop`)."""

LIVE: Final = (1 << 63) - 1
"""The time of a signal that was just sent: it is about the run that the container is in, whatever clocks say."""

_MARGIN: Final = 2.0  # seconds for the engine to kill it, and for that to be seen


class StopTracker:
    """Signals that are deferred to the next inspection, and until when signals and ooms count.

    `clock` gives seconds that never go back. `stop_seconds` is the limit, in which a container has to
    stop, of those that have none of their own.
    """

    def __init__(self, clock: Callable[[], float], stop_seconds: int = STOP_SECONDS) -> None:
        self._clock = clock
        self._stop_seconds = stop_seconds
        # containers with a start event since their last inspection
        self._started: set[str] = set()
        # by container, the last time of each signal
        self._deferred: dict[str, dict[int, int]] = {}
        # by container, the start time of the run that had an oom
        self._ooms: dict[str, int] = {}
        # by container, when it is to be looked at: what counts against it until then does so no longer, if it runs
        self._oom_until: dict[str, float] = {}
        self._stop_until: dict[str, float] = {}
        # containers that are being looked at
        self._asked: set[str] = set()

    def started(self, container_id: str) -> None:
        """Record a start event: what came before it was about an earlier run, and the start time is unknown."""
        self.forget(container_id)
        self._started.add(container_id)

    def awaits_inspection(self, container_id: str) -> bool:
        """Tell whether a container was started since it was last inspected."""
        return container_id in self._started

    def defer(self, container_id: str, signal: int, time: int) -> None:
        """Record a signal, and its time, until the next inspection of the container."""
        times = self._deferred.setdefault(container_id, {})
        times[signal] = max(time, times.get(signal, 0))

    def oom(self, container: Container, time: int) -> None:
        """Record an oom event, if it is of the present run."""
        if time >= container.started_at:
            self._ooms[container.id] = container.started_at
            self._oom_until[container.id] = self._clock() + OOM_SECONDS

    def stopping(self, container: Container, *, again: bool) -> None:
        """Note that the present run of a container was asked to stop; `again`: just now, whatever was before."""
        limit = self._stop_seconds if container.stop_seconds is None else container.stop_seconds
        seconds = limit + _MARGIN if limit >= 0 else inf  # for which the engine waits then
        if again or container.id not in self._stop_until:
            self._stop_until[container.id] = self._clock() + seconds

    def inspected(self, container_id: str) -> Mapping[int, int]:
        """Record that a container was inspected; return the signals deferred until then, with their times."""
        self._started.discard(container_id)
        self._asked.discard(container_id)
        return self._deferred.pop(container_id, {})

    def outlived(self, container: Container) -> bool:
        """Tell, once, whether a container goes on although it was asked to stop, or had an oom, long enough ago."""
        now, one = self._clock(), container.id
        if not container.running:
            self._oom_until.pop(one, None)
            self._stop_until.pop(one, None)
            return False
        outlived = False
        if self._oom_until.get(one, inf) <= now:
            del self._oom_until[one]
            self._ooms.pop(one, None)
            outlived = True
        if self._stop_until.get(one, inf) <= now:
            del self._stop_until[one]
            outlived = True
        return outlived

    def is_asked(self, container: Container) -> bool:
        """Tell whether it still counts that a container was asked to stop."""
        return container.id in self._stop_until

    def wait(self) -> float:
        """Return in how many seconds a container is to be looked at, at least 0; infinite: when something happens."""
        times = [time for one, time in self._looks() if one not in self._asked]
        return max(0.0, min(times, default=inf) - self._clock())

    def due(self) -> list[str]:
        """Return, once, the containers that are to be looked at now."""
        now = self._clock()
        due = {one for one, time in self._looks() if time <= now} - self._asked
        self._asked |= due
        return sorted(due)

    def _looks(self) -> Iterator[tuple[str, float]]:
        yield from self._oom_until.items()
        yield from self._stop_until.items()

    def listed(self, present: Collection[str]) -> None:
        """Record that these containers were listed."""
        known = {*self._started, *self._deferred, *self._oom_until, *self._stop_until}
        for container_id in known - set(present):
            self.forget(container_id)
        self._asked.clear()

    def is_stopping(self, container: Container) -> bool:
        """Tell whether a container is about to end, by what is recorded here."""
        deferred = self._deferred.get(container.id, ())
        return self._ooms.get(container.id) == container.started_at or any(map(container.is_stopped_by, deferred))

    def forget(self, container_id: str) -> None:
        """Drop all that is recorded of a container."""
        self._started.discard(container_id)
        self._asked.discard(container_id)
        for each in (self._deferred, self._ooms, self._oom_until, self._stop_until):
            each.pop(container_id, None)


def was_stopped(container: Container, signals: Mapping[int, int], *, outlived: bool = False) -> bool:
    """Tell whether any of these signals, with their times, asked the present run of a container to stop.

    `outlived`: it is known to have gone on after such a signal, so only one that was just sent counts.
    """
    since = LIVE if outlived else container.started_at
    return any(container.is_stopped_by(signal) and time >= since for signal, time in signals.items())
