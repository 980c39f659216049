"""Starts probes and says how they ended; as many at a time as there may be descriptors."""

import asyncio
import logging
import resource
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from clusterf.health.probes.base import Probe
from clusterf.health.probes.http import HttpProbe
from clusterf.health.probes.http_client import HttpClientProbe
from clusterf.health.probes.poller import Poller
from clusterf.health.probes.tcp import TcpProbe
from clusterf.health.probes.tls import Contexts
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult

__all__ = ["Prober"]

log = logging.getLogger(__name__)

Done = Callable[[ProbeResult], None]
_RESERVED: Final = 64  # descriptors for everything else that the process does
_QUIET: Final = 60.0  # seconds before the same trouble of this machine is told again


class Prober:
    """The probes of a process. To be used in the loop's thread only.

    Raises the process's limit of descriptors as far as it may. Probes beyond
    it wait, and their timeouts with them.

    asyncio's own loop is as good as a faster one here: most probes are bare
    sockets, which cost about the same in both.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._most = _most_probes()
        self._under_way: dict[Probe, Done] = {}
        self._waiting: deque[tuple[Target, Done]] = deque()
        self._sockets = Poller(loop)
        self._contexts = Contexts()
        # when each trouble of this machine was told last
        self._told: dict[str, float] = {}

    @property
    def under_way(self) -> int:
        """How many probes have begun and not ended."""
        return len(self._under_way)

    @property
    def waiting(self) -> int:
        """How many have not begun, for want of descriptors."""
        return len(self._waiting)

    def start(self, target: Target, done: Done) -> None:
        """Probe `target`, whose check is of another type than `none`.

        `done` is called with the outcome: exactly once, not before this
        returns, in the loop's thread, and within the check's timeout of when
        the probe begins, which is now unless it has to wait. An outcome that
        is `local` tells nothing about the target.
        """
        if len(self._under_way) < self._most:
            self._begin(target, done)
        else:
            self._waiting.append((target, done))

    def close(self) -> None:
        """Give up all that is under way or waits; no `done` is called any more.

        Connections of TLS are closed when the loop runs next.
        """
        self._waiting.clear()
        for probe in self._under_way:
            probe.abandon()
        self._under_way.clear()
        self._sockets.close()

    def _begin(self, target: Target, done: Done) -> None:
        probe = self._new(target)
        self._under_way[probe] = done
        probe.begin()

    def _new(self, target: Target) -> Probe:
        check = target.check
        if check.type == "tcp":
            return TcpProbe(self._loop, target, self._ended, self._sockets)
        if check.type == "http" and not check.redirects:
            return HttpProbe(self._loop, target, self._ended, self._sockets)
        return HttpClientProbe(self._loop, target, self._ended, self._contexts)

    def _ended(self, probe: Probe, outcome: ProbeResult) -> None:
        done = self._under_way.pop(probe)
        if outcome.local:
            self._tell(outcome.reason)
        if self._waiting:
            self._begin(*self._waiting.popleft())
        done(outcome)

    def _tell(self, trouble: str) -> None:
        now = monotonic()
        if now >= self._told.get(trouble, 0.0) + _QUIET:
            self._told[trouble] = now
            log.warning("health: cannot probe: %s; verdicts stay as they are", trouble)


def _most_probes() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("health: no more than %s file descriptors: %s", soft, error)
    else:
        soft = hard
    return max(soft - _RESERVED, _RESERVED)
