"""The wiring of the config process."""

from pathlib import Path

from actors.base.messages import Upstream
from actors.base.process import Host, Ref
from actors.config.authorities_watcher import AuthoritiesWatcher
from actors.config.config_publisher import ConfigPublisher
from actors.config.file_watcher import FileWatcher
from actors.settings import Settings
from clusterf.sources.url import Source

__all__ = ["start"]

ETCD_LIST_INTERVAL = 300.0  # seconds between lists of the whole prefix, for events that a watch may have missed


def start(name: str, settings: Settings, host: Host) -> list[Ref]:
    """Start the actors, and return them in the order of the data flow."""
    del name
    publisher = ConfigPublisher.start(settings.sources, settings.filter_routes, host.links)
    authorities = AuthoritiesWatcher.start(publisher)
    # before the first value, which may name a file
    publisher.tell(Upstream(authorities))
    watchers = [_watcher(number, source, settings, publisher) for number, source in enumerate(settings.sources)]
    return [*watchers, authorities, publisher]


def _watcher(number: int, source: Source, settings: Settings, publisher: Ref) -> Ref:
    if source.etcd is not None:
        # grpc is large, and not needed for file trees
        from actors.config.etcd_watcher import EtcdWatcher  # noqa: PLC0415

        return EtcdWatcher.start(number, source.url, source.etcd, settings.config_file, ETCD_LIST_INTERVAL, publisher)
    assert source.tree is not None
    root = Path(source.tree)
    return FileWatcher.start(
        number, source.url, root, settings.config_file, settings.resync_interval, publisher, once=settings.once
    )
