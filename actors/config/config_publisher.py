"""ConfigPublisher: what all sources together say, on the configuration link."""

from pathlib import Path
from typing import Any

from actors.base.actor import Actor
from actors.config.messages import SourceUpdate
from actors.link.messages import ConfigMessage, ProblemsAre, ValueIs
from actors.link.publisher import Publisher
from clusterf.config.model import FrontendKey
from clusterf.sources.overlay import Overlay
from clusterf.sources.url import Source

__all__ = ["ConfigPublisher"]


class ConfigPublisher(Actor):
    """Merge the sources by key, and publish the result at `socket`."""

    def __init__(self, sources: tuple[Source, ...], filter_routes: str, socket: Path) -> None:
        super().__init__()
        self._layers = Overlay([source.url.startswith(filter_routes) for source in sources])
        self._publisher = Publisher(socket)
        # the sources that have not yet told all they have
        self._awaited = set(range(len(sources)))

    def on_start(self) -> None:
        """Listen for those who want the configuration."""
        self._publisher.start()

    def on_stop(self) -> None:
        """Hang up."""
        self._publisher.stop()

    def receive(self, message: Any) -> None:
        """Take in what a source says."""
        match message:
            case SourceUpdate(source, messages, synced):
                if synced:
                    self._awaited.discard(source)
                merged = [m for said in messages if (m := self._merge(source, said)) is not None]
                merged.sort(key=_is_no_departure)
                self._publisher.publish(merged, synced=not self._awaited)
            case _:
                raise TypeError(f"ConfigPublisher does not handle {message!r}")

    def _merge(self, source: int, said: ConfigMessage) -> ConfigMessage | None:
        if isinstance(said, ProblemsAre):
            return said
        if not self._layers.accepts(source, said.key):
            return None
        return ValueIs(said.key, self._layers.put(source, said.key, said.value))


def _is_no_departure(message: ConfigMessage) -> bool:
    """Tell what comes behind frontends that go, for these take their backends along.

    Otherwise a service that goes as a whole would look like one that loses its backends first.
    """
    return not (isinstance(message.key, FrontendKey) and message.value is None)
