"""Containers that are about to end, as far as only events have shown it.

A signal applies to the run that a container is in, and a run is identified by
its start time. Between a start event and the next inspection that time is
unknown, so signals are deferred to the inspection, which shows whether the run
began before them. Until then they count.

An `oom` event counts until the next list only: the kernel may have killed a
process other than the container's main one, which then goes on.
"""

from collections.abc import Collection, Mapping

from clusterf.docker.containers import Container

__all__ = ["StopTracker", "was_stopped"]


class StopTracker:
    """Signals that are deferred to the next inspection, and runs that had an oom."""

    def __init__(self) -> None:
        # containers with a start event since their last inspection
        self._started: set[str] = set()
        # by container, the last time of each signal
        self._deferred: dict[str, dict[int, int]] = {}
        # by container, the start time of the run that had an oom
        self._ooms: dict[str, int] = {}

    def started(self, container_id: str) -> None:
        """Record a start event: the start time is unknown until the next inspection."""
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

    def inspected(self, container_id: str) -> Mapping[int, int]:
        """Record that a container was inspected; return the signals deferred until then, with their times."""
        self._started.discard(container_id)
        return self._deferred.pop(container_id, {})

    def listed(self, present: Collection[str]) -> Collection[str]:
        """Record that these containers were listed; return those whose oom no longer counts."""
        for container_id in {*self._started, *self._deferred} - set(present):
            self.forget(container_id)
        before, self._ooms = self._ooms, {}
        return before.keys()

    def is_stopping(self, container: Container) -> bool:
        """Tell whether a container is about to end, by what is recorded here."""
        deferred = self._deferred.get(container.id, ())
        return self._ooms.get(container.id) == container.started_at or any(map(container.is_stopped_by, deferred))

    def forget(self, container_id: str) -> None:
        """Drop all that is recorded of a container."""
        self._started.discard(container_id)
        self._deferred.pop(container_id, None)
        self._ooms.pop(container_id, None)


def was_stopped(container: Container, signals: Mapping[int, int]) -> bool:
    """Tell whether any of these signals, with their times, asked the present run of a container to stop."""
    return any(container.is_stopped_by(signal) and time >= container.started_at for signal, time in signals.items())
