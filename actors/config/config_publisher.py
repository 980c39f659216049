"""ConfigPublisher: merges the sources, and publishes the configuration."""

from collections.abc import Iterable, Iterator
from math import inf
from typing import Any

from actors.base.actor import Actor
from actors.config.messages import AuthoritiesRead, FileNamed, SourceKnown, SourceUpdate
from actors.link.links import Links
from actors.link.messages import AuthoritiesAre, AuthoritiesKey, ConfigMessage, DoubtIs, ValueIs
from actors.link.publisher import Publisher
from actors.settings import CONFIG
from clusterf.config.model import Key, Value
from clusterf.health.authorities import Authorities, NamedFiles
from clusterf.sources.doubt import DoubtKind
from clusterf.sources.overlay import Overlay
from clusterf.sources.url import Source
from clusterf.sources.withheld import Withheld

__all__ = ["ConfigPublisher"]


class ConfigPublisher(Actor):
    """Merges the sources by key, and publishes the result on the link of the config process.

    Routes are accepted only from sources whose URL starts with `filter_routes`. What a source
    deletes while it is in doubt is deleted when that ends. With the checks go the authorities in the
    files that they name, which AuthoritiesWatcher, upstream, is asked to read.
    """

    def __init__(self, sources: tuple[Source, ...], filter_routes: str, links: Links) -> None:
        super().__init__()
        self._overlay = Overlay([source.url.startswith(filter_routes) for source in sources])
        # whether each source is a tree of files
        self._local = [source.is_local for source in sources]
        self._withheld = [Withheld() for _ in sources]
        self._publisher = Publisher(CONFIG, links)
        self._named = NamedFiles()
        # the sources that have not been complete once
        self._awaited = set(range(len(sources)))
        # the last moment of which it is known what each source was
        self._known = dict.fromkeys(range(len(sources)), -inf)

    def on_start(self) -> None:
        """Begin to publish."""
        self._publisher.start()

    def on_stop(self) -> None:
        """Close the links."""
        self._publisher.stop()

    def receive(self, message: Any) -> None:
        """Merge and publish an update of a source."""
        match message:
            case SourceUpdate(source, messages, synced):
                if synced:
                    self._awaited.discard(source)
                merged = [m for message in messages for m in self._merge(source, message)]
                self._publisher.publish(self._with_authorities(merged), synced=not self._awaited)
            case AuthoritiesRead(files):
                read = [AuthoritiesAre(AuthoritiesKey(path), files[path]) for path in files if path in self._named]
                self._publisher.publish(read, synced=False)
            case SourceKnown(source, known):
                self._known[source] = known
                self._publisher.pulse(min(self._known.values()))
            case _:
                super().receive(message)

    def _merge(self, source: int, message: ConfigMessage) -> Iterator[ConfigMessage]:
        """Yield what follows from a message of a source."""
        match message:
            case ValueIs(key, value):
                if self._overlay.accepts(source, key) and not self._withheld[source].withholds(key, value):
                    yield self._put(source, key, value)
            case DoubtIs(key, value) if key.kind is DoubtKind.SOURCE:
                yield message
                for deleted in self._withheld[source].doubt(doubted=value is not None):
                    yield self._put(source, deleted, None)
            case _:
                yield message

    def _put(self, source: int, key: Key, value: Value | None) -> ValueIs:
        """Set a value of a source; return the one in force."""
        in_force, of = self._overlay.put(source, key, value)
        return ValueIs(key, in_force, in_force is not None and self._local[of])

    def _with_authorities(self, messages: Iterable[ConfigMessage]) -> list[ConfigMessage]:
        """Return the messages, each with the files of authorities before it that are to be read because of it.

        So it is known of each file that it will be, also after a restart of this process, and before it is read.
        """
        result: list[ConfigMessage] = []
        for message in messages:
            if isinstance(message, ValueIs):
                for path, named in self._named.put(message.key, message.value):
                    self.tell_upstream(FileNamed(path, named))
                    result.append(AuthoritiesAre(AuthoritiesKey(path), Authorities() if named else None))
            result.append(message)
        return result
