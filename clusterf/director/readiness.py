"""When all is known that decides about the table, for the first time since the process began.

A health process that never reports its verdicts must not keep the configuration from being
applied for ever: after a time the director goes on as if it knew none.
"""

from collections.abc import Iterable

__all__ = ["Readiness", "longest_silence"]

_START = 30.0  # seconds that a process has for its start before it is found stuck, unless `--stuck-timeout` is longer
_RESTART = 5.0  # seconds until it is started again, about, at the longest


def longest_silence(stuck_timeout: float) -> float:
    """Return for how many seconds a health process is awaited.

    So long that one which is found stuck at its start does no harm: its successor has as much time.
    """
    return 2 * max(_START, stuck_timeout) + _RESTART


class Readiness:
    """Waits for the whole configuration, for all verdicts that the links called `health` have, and for verdicts.

    With `patient` each checked backend has to have a verdict, until patience is over.
    """

    def __init__(self, health: Iterable[str], *, patient: bool) -> None:
        # the links of health processes that have not been synced once: awaited, and awaited no longer
        self._awaited = set(health)
        self._waived: set[str] = set()
        self._patient = patient
        # whether the whole configuration is known
        self.is_configured = False

    @property
    def silent(self) -> list[str]:
        """The links of the health processes that are awaited."""
        return sorted(self._awaited)

    def configured(self) -> bool:
        """Note that the configuration is complete; return whether that is news."""
        before, self.is_configured = self.is_configured, True
        return not before

    def judged(self, link: str) -> bool:
        """Note that all verdicts have come over the link; return whether they were awaited no longer."""
        late = link in self._waived
        self._awaited.discard(link)
        self._waived.discard(link)
        return late

    def waive(self) -> None:
        """Await the silent health processes no longer."""
        self._waived |= self._awaited
        self._awaited.clear()

    def lose_patience(self) -> None:
        """Wait no longer for verdicts that nobody has."""
        self._patient = False

    def is_ready(self, unknown: int) -> bool:
        """Tell whether all is known but the verdicts on so many endpoints, or these are no longer awaited."""
        return self.is_configured and not self._awaited and not (self._patient and unknown)
