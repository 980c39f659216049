"""Probe 300 targets that never respond, with at most 128 descriptors, and print the number of each reason."""

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
        results = [asyncio.get_running_loop().create_future() for _ in range(300)]
        for result in results:
            prober.start(Target(busy, HealthCheck(timeout=0.1)), result.set_result)
        reasons = Counter([(await result).reason for result in results])
    for reason, count in reasons.items():
        print(reason, count)


resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
asyncio.run(main())
