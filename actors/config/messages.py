"""Messages from the watchers of sources to ConfigPublisher."""

from typing import NamedTuple

from actors.link.messages import ConfigMessage

__all__ = ["SourceUpdate"]


class SourceUpdate(NamedTuple):
    """Values and problems of a source that changed; `source` is its place in the order of `--config-source`.

    `synced`: with these the source is complete, for the first time.
    """

    source: int
    messages: tuple[ConfigMessage, ...]
    synced: bool = False
