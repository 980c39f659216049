"""Which containers are about to end, as far as only events have told it.

A signal counts for the run that a container is in, and a run is known by when
it started. After a start has been seen, and before the container has been
looked at, that is not known; so the signals of that time wait for the look,
which tells whether the run began before them. Meanwhile they count.

An `oom` counts until the next list only: the kernel may have chosen another
process than the container's own, which then goes on.
"""

from collections.abc import Collection, Mapping

from clusterf.docker.containers import Container

__all__ = ["StopTracker", "ended"]


class StopTracker:
    """Signals that wait for their container to be looked at, and runs that had an oom."""

    def __init__(self) -> None:
        self._started: set[str] = set()
        # by container, the last time of each signal
        self._waiting: dict[str, dict[int, int]] = {}
        # by container, when the run that it was in started
        self._ooms: dict[str, int] = {}

    def started(self, one: str) -> None:
        """Take it that a container has been started, and is not known as it is since then."""
        self._started.add(one)

    def unsettled(self, one: str) -> bool:
        """Tell whether a container has been started since it was last looked at."""
        return one in self._started

    def wait(self, one: str, signal: int, time: int) -> None:
        """Keep a signal, and its time, until the container has been looked at."""
        times = self._waiting.setdefault(one, {})
        times[signal] = max(time, times.get(signal, 0))

    def oom(self, container: Container, time: int) -> None:
        """Take it that a container had an oom, if it was in the present run."""
        if time >= container.started_at:
            self._ooms[container.id] = container.started_at

    def looked(self, one: str) -> Mapping[int, int]:
        """Take it that a container is known as it is; return the signals that waited for that, with their times."""
        self._started.discard(one)
        return self._waiting.pop(one, {})

    def listed(self, there: Collection[str]) -> Collection[str]:
        """Take it that there are these containers; return those that are no longer taken to end by an oom."""
        for one in {*self._started, *self._waiting} - set(there):
            self.forget(one)
        before, self._ooms = self._ooms, {}
        return before.keys()

    def expected(self, container: Container) -> bool:
        """Tell whether a container is about to end, for all that is kept here."""
        waiting = self._waiting.get(container.id, ())
        return self._ooms.get(container.id) == container.started_at or any(map(container.is_ended_by, waiting))

    def forget(self, one: str) -> None:
        """Take it that a container is gone."""
        self._started.discard(one)
        self._waiting.pop(one, None)
        self._ooms.pop(one, None)


def ended(container: Container, signals: Mapping[int, int]) -> bool:
    """Tell whether any of the signals, with their times, told the present run of a container to end."""
    return any(container.is_ended_by(signal) and time >= container.started_at for signal, time in signals.items())
