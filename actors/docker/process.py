"""The wiring of the docker process."""

from functools import partial

from actors.base.process import Host, Ref
from actors.docker.docker_watcher import DockerWatcher
from actors.docker.key_publisher import KeyPublisher
from actors.docker.noop_publisher import NoopPublisher
from actors.settings import Settings, state_path
from clusterf.docker.engine import Engine, access_of
from clusterf.docker.inventory import Inventory
from clusterf.lib.store import Store

__all__ = ["start"]


def start(name: str, settings: Settings, host: Host) -> list[Ref]:
    """Start the actors, the first in the flow first. Raises Unavailable where the process cannot do its work at all."""
    del name, host
    location = settings.published_to()
    assert location is not None
    lease_file = state_path(settings, "docker.lease")
    publisher: Ref = (
        NoopPublisher.start(location)
        if settings.noop
        else KeyPublisher.start(location, settings.etcd_ttl, lease_file, leave_nothing=settings.exit_flush)
    )
    watcher = DockerWatcher.start(
        access_of(settings.docker_endpoint)["base_url"],
        lambda: Engine(settings.docker_endpoint),
        partial(Inventory, settings.addressing(), settings.routing()),
        lambda: Store(state_path(settings, "docker.db"), read_only=settings.noop),
        settings.resync_interval,
        publisher,
    )
    return [watcher, publisher]
