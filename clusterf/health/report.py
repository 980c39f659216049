"""Log lines about targets that come up or go down, and about local outages."""

import logging
from collections.abc import Callable, Collection, Iterator
from itertools import islice

from clusterf.config.model import BackendKey
from clusterf.health.monitor import Monitor, Transition
from clusterf.health.targets import Target
from clusterf.lib.text import escape, printable

__all__ = ["OutageReport", "refusal_lines", "transition_lines"]

MAX_BACKENDS = 10  # backends of a target that are named
MAX_REFUSED = 10  # targets that are named at a time

Line = tuple[int, str]
"""A logging level, and the line to log at it."""


def transition_lines(transition: Transition, backends: Collection[BackendKey]) -> Iterator[str]:
    """Yield a line for each of the first backends of the target, and one for the others together."""
    change = _change(transition)
    for key in islice(backends, MAX_BACKENDS):
        yield f"{escape(key.service)}/{escape(key.backend)}: {change}"
    if len(backends) > MAX_BACKENDS:
        yield f"and {len(backends) - MAX_BACKENDS} more: {change}"


def refusal_lines(refused: Collection[Target], backends: Callable[[Target], Collection[BackendKey]]) -> Iterator[str]:
    """Yield a line for each of the first refused targets, with one of its `backends`, and one for the others."""
    for target in islice(refused, MAX_REFUSED):
        keys = backends(target)
        first = "".join(f"{escape(key.service)}/{escape(key.backend)}: " for key in islice(keys, 1))
        more = f" (and {len(keys) - 1} more backends)" if len(keys) > 1 else ""
        yield f"{first}{target.endpoint} is not probed: {target.refused}{more}"
    if len(refused) > MAX_REFUSED:
        yield f"and {len(refused) - MAX_REFUSED} more are not probed"


def _change(transition: Transition) -> str:
    result, streak = transition.result, transition.streak
    at, duration = transition.target.endpoint, f"{result.duration * 1000:.1f} ms"
    if transition.verdict.up:
        return f"{at} is up ({_in_a_row(streak, 'success', 'successes')}, {duration})"
    reason = printable(result.reason)
    return f"{at} is down: {reason} ({_in_a_row(streak, 'failure', 'failures')}, {duration})"


def _in_a_row(count: int, one: str, many: str) -> str:
    return f"1 {one}" if count == 1 else f"{count} {many} in a row"


class OutageReport:
    """The lines about a freeze of a monitor's verdicts, and about its references: each change is reported once."""

    def __init__(self, monitor: Monitor, references: object) -> None:
        self._monitor = monitor
        # printed where no reference responds
        self._references = references
        # since when the verdicts have been frozen, in the seconds of `update`; None: they are not
        self._frozen_since: float | None = None
        self._trusted = True

    def update(self, now: float) -> Iterator[Line]:
        """Yield what has changed since the last call. `now` is in seconds on a monotonic clock."""
        frozen, trusted = self._monitor.frozen, self._monitor.references_trusted
        if frozen and self._frozen_since is None:
            self._frozen_since = now
            why = f"most targets are failing and no reference responds ({self._references})"
            yield logging.ERROR, f"{why}: assuming a local outage, freezing {len(self._monitor)} verdicts"
        elif not frozen and self._frozen_since is not None:
            seconds, self._frozen_since = now - self._frozen_since, None
            why = "a reference responds" if trusted else "most targets are passing"
            yield logging.WARNING, f"{why}: unfreezing verdicts after {seconds:.1f} seconds"
        if trusted != self._trusted:
            self._trusted = trusted
            if trusted:
                yield logging.WARNING, "a reference responds: using references again"
            else:
                line = f"no reference responds ({self._references}): ignoring references until one responds"
                yield logging.ERROR, line
