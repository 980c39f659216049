"""Probing targets by a real Prober, and checking that it leaves nothing behind."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clusterf.config.model import HealthCheck
from clusterf.health.authorities import file_of
from clusterf.health.authority_files import AuthorityFiles
from clusterf.health.probes import Prober
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint
from tests.waiting import wait_until

__all__ = ["ProbeRunner", "open_sockets", "probe_runner"]


class ProbeRunner:
    """A prober, and an event loop that runs during probes only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.prober = Prober(loop)
        self._files = AuthorityFiles()

    def probe(self, endpoint: Endpoint, check: HealthCheck) -> ProbeResult:
        """Return the result of one probe."""
        [result] = self.probe_all([Target(endpoint, check)])
        return result

    def probe_all(self, targets: list[Target]) -> list[ProbeResult]:
        """Return the results of probes that run at the same time."""
        self._read_authorities(targets)
        return self.loop.run_until_complete(asyncio.wait_for(self._probe_all(targets), 30))

    async def _probe_all(self, targets: list[Target]) -> list[ProbeResult]:
        futures = [self.loop.create_future() for _ in targets]
        for target, future in zip(targets, futures, strict=True):
            # a second result of a probe would be an InvalidStateError in the loop
            self.prober.start(target, future.set_result)
            assert not future.done(), "done was called before start returned"
        return await asyncio.gather(*futures)

    def _read_authorities(self, targets: list[Target]) -> None:
        """Do what the config process does, and the link from it."""
        for path in filter(None, (file_of(target.check) for target in targets)):
            self._files.put(path, named=True)
        for path, authorities in self._files.poll().items():
            self.prober.set_authorities(path, authorities)

    def drained(self) -> bool:
        """Run the loop once; return whether no task is left."""
        self.loop.run_until_complete(asyncio.sleep(0))
        return not asyncio.all_tasks(self.loop)


@contextmanager
def probe_runner() -> Iterator[ProbeRunner]:
    """Yield a runner; at the end, fail if a probe, task or socket is left, or if the loop reported an error."""
    before = open_sockets()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    own = open_sockets() - before
    errors: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    runner = ProbeRunner(loop)
    yield runner
    assert (runner.prober.under_way, runner.prober.waiting) == (0, 0)
    wait_until(runner.drained)
    # the loop's own sockets are still open; those of servers, in their threads, close a moment later
    wait_until(lambda: runner.drained() and open_sockets() <= before + own)
    assert errors == []
    runner.prober.close()
    loop.close()


def open_sockets() -> int:
    """Return the number of sockets of this process."""
    return sum(link.startswith("socket:") for link in map(_link, Path("/proc/self/fd").iterdir()))


def _link(path: Path) -> str:
    with suppress(FileNotFoundError):
        return str(path.readlink())
    return ""
