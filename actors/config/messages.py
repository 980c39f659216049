"""What the watchers of sources tell ConfigPublisher."""

from typing import NamedTuple

from actors.link.messages import ConfigMessage

__all__ = ["SourceUpdate"]


class SourceUpdate(NamedTuple):
    """What a source says: objects and problems by key, `source` is its place in the order of `--config-source`.

    `synced`: with this it has told all it has.
    """

    source: int
    messages: tuple[ConfigMessage, ...]
    synced: bool = False
