"""What is true of the containers, by what was done to them; the judge compares what is seen with that.

Times are of this machine's monotonic clock, in seconds.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise

import msgspec

from tests.soak.periods import ALWAYS, Period

__all__ = ["ENDED", "GONE", "PAUSED", "RUNNING", "Backend", "Fact", "Truth"]

RUNNING = "running"  # and serving: it is to have weight
ENDED = "ended"  # or asked to: it is to have none
PAUSED = "paused"  # likewise
GONE = "gone"


class Backend(msgspec.Struct, frozen=True):
    """A container: its id, the service that it backs, and its address."""

    id: str
    service: str
    address: str

    @property
    def path(self) -> str:
        """Its key in etcd."""
        return f"services/{self.service}/backends/{self.id}"


class Fact(msgspec.Struct, frozen=True):
    """A backend that came into a state between two times."""

    begin: float
    end: float
    state: str


class Truth:
    """The states of all backends; may be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: dict[Backend, list[Fact]] = {}

    @property
    def backends(self) -> Mapping[Backend, list[Fact]]:
        """All there ever were."""
        return self._facts

    def note(self, backend: Backend, begin: float, state: str) -> None:
        """Note that a backend came into a state after `begin`, and before now."""
        self.note_at(backend, begin, time.monotonic(), state)

    def note_at(self, backend: Backend, begin: float, end: float, state: str) -> None:
        """Note that a backend came into a state between two times."""
        with self._lock:
            self._facts.setdefault(backend, []).append(Fact(begin, end, state))

    def present(self) -> dict[Backend, str]:
        """Return the state of each backend that is not gone."""
        with self._lock:
            last = {backend: facts[-1].state for backend, facts in self._facts.items()}
        return {backend: state for backend, state in last.items() if state != GONE}

    def idle(self, backend: Backend) -> list[Period]:
        """Return when a backend may have been in another state than running."""
        facts = self._facts[backend]
        periods = [Period(ALWAYS.begin, facts[0].end)]
        periods += [Period(now.begin, after.end) for now, after in pairwise(facts) if now.state != RUNNING]
        if facts[-1].state != RUNNING:
            periods.append(Period(facts[-1].begin, ALWAYS.end))
        return periods

    def running(self, backend: Backend) -> Iterator[Period]:
        """Yield when a backend was running for certain."""
        facts = self._facts[backend]
        for now, after in pairwise([*facts, Fact(ALWAYS.end, ALWAYS.end, GONE)]):
            if now.state == RUNNING:
                yield Period(now.end, after.begin)

    def ended(self, backend: Backend) -> Iterator[Period]:
        """Yield when a backend was not running for certain."""
        facts = self._facts[backend]
        for now, after in pairwise([*facts, Fact(ALWAYS.end, ALWAYS.end, GONE)]):
            if now.state != RUNNING:
                yield Period(now.end, after.begin)
