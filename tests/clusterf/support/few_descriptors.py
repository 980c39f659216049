"""Probe 300 targets that never answer with no more than 128 descriptors, and count what came of it."""

import asyncio
import resource
from collections import Counter

from clusterf.config.model import HealthCheck
from clusterf.health.probes import Prober
from clusterf.health.targets import Target
from tests.servers import full_backlog


async def main() -> None:
    prober = Prober(asyncio.get_running_loop())
    with full_backlog() as busy:
        outcomes = [asyncio.get_running_loop().create_future() for _ in range(300)]
        for outcome in outcomes:
            prober.start(Target(busy, HealthCheck(timeout=0.1)), outcome.set_result)
        reasons = Counter([(await outcome).reason for outcome in outcomes])
    for reason, count in reasons.items():
        print(reason, count)


resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
asyncio.run(main())
