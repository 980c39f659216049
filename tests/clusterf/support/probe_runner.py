"""Asking targets by a real Prober, and seeing that it leaves nothing behind."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clusterf.config.model import HealthCheck
from clusterf.health.probes import Prober
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint
from tests.waiting import wait_until

__all__ = ["Asker", "asking", "sockets"]


class Asker:
    """A loop that runs while something is asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.prober = Prober(loop)

    def ask(self, endpoint: Endpoint, check: HealthCheck) -> ProbeResult:
        """Return the outcome of one probe."""
        [outcome] = self.ask_all([Target(endpoint, check)])
        return outcome

    def ask_all(self, targets: list[Target]) -> list[ProbeResult]:
        """Return the outcomes of probes that run at the same time."""
        return self.loop.run_until_complete(asyncio.wait_for(self._ask_all(targets), 30))

    async def _ask_all(self, targets: list[Target]) -> list[ProbeResult]:
        futures = [self.loop.create_future() for _ in targets]
        for target, future in zip(targets, futures, strict=True):
            # a second outcome of a probe would be an InvalidStateError in the loop
            self.prober.start(target, future.set_result)
            assert not future.done(), "done was called before start returned"
        return await asyncio.gather(*futures)

    def finish(self) -> bool:
        """Let the loop do what it has to; True when no task is left."""
        self.loop.run_until_complete(asyncio.sleep(0))
        return not asyncio.all_tasks(self.loop)


@contextmanager
def asking() -> Iterator[Asker]:
    """Yield an asker; see to it that in the end no probe, task or socket is left, and that the loop had no errors."""
    before = sockets()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    own = sockets() - before
    errors: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    asker = Asker(loop)
    yield asker
    assert (asker.prober.under_way, asker.prober.waiting) == (0, 0)
    wait_until(asker.finish)
    # those of a loop itself are still open; those of servers, in their threads, take a moment
    wait_until(lambda: asker.finish() and sockets() <= before + own)
    assert errors == []
    loop.close()


def sockets() -> int:
    """Return how many sockets this process has."""
    return sum(link.startswith("socket:") for link in map(_link, Path("/proc/self/fd").iterdir()))


def _link(path: Path) -> str:
    with suppress(FileNotFoundError):
        return str(path.readlink())
    return ""
