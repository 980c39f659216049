"""The wiring of a health process."""

from actors.base.process import Host, Ref
from actors.health.health_checker import HealthChecker
from actors.settings import Settings
from clusterf.health.probe_policy import ProbePolicy
from clusterf.health.probes import Prober
from clusterf.health.targets import Targets, shard_of
from clusterf.health.verdict_store import VerdictStore

__all__ = ["start"]


def start(name: str, settings: Settings, host: Host) -> list[Ref]:
    """Start the actors, the first in the flow first."""
    shard, shards = settings.health_names().index(name), settings.health_processes
    # with --once, only verdicts of this run count
    state_file = settings.health_file(name) if not settings.once else None
    policy = ProbePolicy(settings.health_deny, settings.health_allow, settings.health_methods)
    checker = HealthChecker.start(
        name,
        host.links,
        Targets(shard, shards, policy),
        settings.health_references,
        lambda: VerdictStore(
            state_file,
            lambda at: shard_of(at, shards) == shard,
            read_only=settings.noop,
            elsewhere=settings.incomplete_directory(name),
        ),
        Prober,
    )
    return [checker]
