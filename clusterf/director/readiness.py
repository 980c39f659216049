"""When all is known that decides about the table, for the first time since the process began."""

from collections.abc import Iterable

__all__ = ["Readiness"]


class Readiness:
    """Waits for the whole configuration, for all verdicts that the links called `health` have, and for verdicts.

    With `patient` each checked backend has to have a verdict, until patience is over.
    """

    def __init__(self, health: Iterable[str], *, patient: bool) -> None:
        # the links of health processes that have not been synced once
        self._awaited = set(health)
        self._configured = False
        self._patient = patient

    def configured(self) -> None:
        """Note that the configuration is complete."""
        self._configured = True

    def judged(self, link: str) -> None:
        """Note that all verdicts have come over the link."""
        self._awaited.discard(link)

    def lose_patience(self) -> None:
        """Wait no longer for verdicts that nobody has."""
        self._patient = False

    def is_ready(self, unknown: int) -> bool:
        """Tell whether all is known but the verdicts on so many endpoints, or these are no longer awaited."""
        return self._configured and not self._awaited and not (self._patient and unknown)
