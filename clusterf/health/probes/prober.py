"""Starts probes and passes on their results; as many at a time as the process may have descriptors."""

import asyncio
import logging
import resource
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from clusterf.health.authorities import Authorities
from clusterf.health.probes.base import Probe
from clusterf.health.probes.costs import PERIOD, Costs
from clusterf.health.probes.handshakes import Handshakes
from clusterf.health.probes.http import HttpProbe
from clusterf.health.probes.http_client import HttpClientProbe
from clusterf.health.probes.pauses import Pauses
from clusterf.health.probes.poller import Poller
from clusterf.health.probes.tcp import TcpProbe
from clusterf.health.probes.tls import Contexts
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.log_once import LogOnce

__all__ = ["Prober"]

log = logging.getLogger(__name__)

Done = Callable[[ProbeResult], None]
_RESERVED: Final = 64  # descriptors for everything else in the process
_PATIENCE: Final = 10.0  # seconds that a probe waits for the authorities that it needs
_REMIND: Final = 60.0  # seconds before the same local error is logged again


class _Parked(NamedTuple):
    """Probes that wait for the authorities in one file, until the timer ends that."""

    timer: asyncio.TimerHandle
    probes: list[tuple[Target, Done]]


class Prober:
    """The probes of a process. To be used in the loop's thread only.

    Raises the process's soft limit of descriptors to the hard one. Probes
    beyond it wait, and their timeouts start later.

    asyncio's own loop is as good as a faster one here: most probes are bare
    sockets, which cost about the same in both.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._limit = _max_probes()
        self._under_way: dict[Probe, Done] = {}
        self._waiting: deque[tuple[Target, Done]] = deque()
        self._costs = Costs()
        self._pauses = Pauses(loop)
        self._poller = Poller(loop, self._costs)
        self._contexts = Contexts()
        self._handshakes = Handshakes(loop)
        # probes that wait for authorities, by file
        self._parked: dict[str, _Parked] = {}
        self._local_errors = LogOnce(log, remind=_REMIND)
        self._period = loop.call_later(PERIOD, self._end_period)

    @property
    def under_way(self) -> int:
        """How many probes have started and not ended."""
        return len(self._under_way)

    @property
    def waiting(self) -> int:
        """How many probes wait for descriptors, or for authorities."""
        return len(self._waiting) + sum(len(parked.probes) for parked in self._parked.values())

    def start(self, target: Target, done: Done) -> None:
        """Probe `target`, whose check is of another type than `none`.

        `done` is called with the result: exactly once, not before this
        returns, in the loop's thread, and within the check's timeout from the
        start of the probe, which is now unless it has to wait; time in which this
        process did not run, or had no thread for a handshake, is added to that.
        A result that is `local` says nothing about the target.
        """
        if path := self._contexts.missing_for(target.check):
            self._park(path, target, done)
        else:
            self._begin_or_wait(target, done)

    def set_authorities(self, path: str, authorities: Authorities | None) -> None:
        """Trust what is known of a file of authorities, in the probes that need it; None: no check names it.

        A probe that needs a file of which nothing is known waits for that, for 10 seconds at most.
        """
        self._contexts.put(path, authorities)
        if authorities is None or authorities.pem or authorities.problem:
            self._release(path)

    def close(self) -> None:
        """Abandon all probes, also those that wait; no `done` is called any more.

        TLS connections are closed when the loop runs next.
        """
        self._waiting.clear()
        for parked in self._parked.values():
            parked.timer.cancel()
        self._parked.clear()
        for probe in self._under_way:
            probe.abandon()
        self._under_way.clear()
        self._poller.close()
        self._pauses.close()
        self._handshakes.close()
        self._period.cancel()

    def _park(self, path: str, target: Target, done: Done) -> None:
        if path not in self._parked:
            self._parked[path] = _Parked(self._loop.call_later(_PATIENCE, self._release, path), [])
        self._parked[path].probes.append((target, done))

    def _release(self, path: str) -> None:
        if (parked := self._parked.pop(path, None)) is not None:
            parked.timer.cancel()
            for target, done in parked.probes:
                self._begin_or_wait(target, done)

    def _begin_or_wait(self, target: Target, done: Done) -> None:
        if len(self._under_way) < self._limit:
            self._begin(target, done)
        else:
            self._waiting.append((target, done))

    def _begin(self, target: Target, done: Done) -> None:
        probe = self._new(target)
        self._under_way[probe] = done
        self._costs.enter(probe)
        probe.begin()
        self._costs.leave()

    def _new(self, target: Target) -> Probe:
        check = target.check
        if check.type == "tcp":
            return TcpProbe(self._loop, target, self._ended, self._pauses, self._poller)
        if check.type == "http" and not check.redirects:
            return HttpProbe(self._loop, target, self._ended, self._pauses, self._poller)
        return HttpClientProbe(
            self._loop, target, self._ended, self._pauses, self._contexts, self._costs, self._handshakes
        )

    def _ended(self, probe: Probe, result: ProbeResult) -> None:
        done = self._under_way.pop(probe)
        self._costs.leave()
        if result.local:
            self._local_errors.log(result.reason, "health: cannot probe: %s (verdicts unchanged)", result.reason)
        if self._waiting:
            self._begin(*self._waiting.popleft())
        done(result._replace(cost=probe.cost))

    def _end_period(self) -> None:
        self._period = self._loop.call_later(PERIOD, self._end_period)
        busy = self._costs.end_period()
        if busy and self._local_errors.is_new("busy", "busy"):
            log.warning("health: this process is busy: %s", busy)


def _max_probes() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("health: limited to %s file descriptors: %s", soft, error)
    else:
        soft = hard
    return max(soft - _RESERVED, _RESERVED)
