"""What `--once` waits for, and the exit status that the node ends with then."""

import logging
from collections.abc import Callable

from clusterf.config.problems import ProblemsOf

__all__ = ["Once"]

log = logging.getLogger(__name__)


class Once:
    """Ends the node by `finish` with the exit status of `--once`, when all is applied or `timeout` seconds are over."""

    def __init__(self, finish: Callable[[int], None], timeout: float) -> None:
        self._finish = finish
        self.timeout = timeout
        # the subjects with fatal problems
        self._invalid: set[object] = set()
        self._finished = False

    def note(self, found: ProblemsOf) -> None:
        """Note the problems of one subject, which replace those that it had before."""
        if any(problem.fatal for problem in found.problems):
            self._invalid.add(found.subject)
        else:
            self._invalid.discard(found.subject)

    def applied(self, failures: int, *, complete: bool) -> None:
        """End the node: all was applied but `failures` operations; `complete`: what goes with the table is, too."""
        self._finished = True
        if failures:
            log.error("--once: %d operations failed", failures)
        self._finish(1 if failures or not complete else 3 if self._invalid else 0)

    def give_up(self) -> None:
        """End the node unless all was applied: the time is over."""
        if not self._finished:
            log.error("--once: not applied within %g seconds, giving up", self.timeout)
            self._finish(1)
