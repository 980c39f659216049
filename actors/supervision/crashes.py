"""What follows from the end of a child: it is started again, or the node gives up.

If children end too often (`Exits`), restarts do not help. Some are dispensable: once such a child was
in order, so that the installation is not what is wrong, no end of it ends the node. It
is restarted for ever, at the longest delay in the end, while the others go on. That it is in
a crash loop is logged when that begins and when it is over, not each time that it ends.
"""

import logging
from collections.abc import Collection

from actors.supervision.child_process import ChildProcess
from actors.supervision.policy import Exits, Policy

__all__ = ["Crashes"]

log = logging.getLogger(__name__)


class Crashes:
    """Decides what happens when a child has ended. Times are those of the supervisor's clock."""

    def __init__(self, policy: Policy, dispensable: Collection[str] = ()) -> None:
        self._policy = policy
        self._dispensable = frozenset(dispensable)
        # the ends that count for giving up
        self._exits = Exits(policy)

    def ended(self, child: ChildProcess, description: str, now: float) -> bool:
        """Have a child that has ended, as `description` says, started again; return whether the node is to give up."""
        ends = child.count_end(now)
        if child.name in self._dispensable and child.was_in_order:
            self._note_loop(child, description, ends)
        elif self._exits.add(now):
            log.error("%s", description)
            log.error("giving up: %d exits of processes within %.0f seconds", len(self._exits), self._policy.period)
            return True
        # (its own policy may have shorter delays, which would cost a CPU for ever)
        delay = child.restart_later(now, self._policy.longest_delay if child.in_crash_loop else 0.0)
        log.log(child.level, "%s, restarting in %.1f seconds", description, delay)
        return False

    def tend(self, child: ChildProcess, now: float) -> None:
        """Report a child that runs if its crash loop is over."""
        if child.in_crash_loop and child.has_recovered(now):
            child.in_crash_loop = False
            log.info("%s: has run for %.0f seconds, the crash loop is over", child, self._policy.period)

    def _note_loop(self, child: ChildProcess, description: str, ends: int) -> None:
        """Report a crash loop when it begins."""
        if child.in_crash_loop or ends <= self._policy.intensity:
            return
        child.in_crash_loop = True
        what = "%s: crash loop: %d exits, never %.0f seconds between; restarting it for ever, no longer logging each"
        log.error(what, description, ends, self._policy.period)
