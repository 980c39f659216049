"""Messages from the watchers of sources to ConfigPublisher."""

from typing import NamedTuple

from actors.link.messages import ConfigMessage

__all__ = ["SourceKnown", "SourceUpdate"]


class SourceUpdate(NamedTuple):
    """Values and problems of a source that changed; `source` is its place in the order of `--config-source`.

    `synced`: with these the source is complete, for the first time.
    """

    source: int
    messages: tuple[ConfigMessage, ...]
    synced: bool = False


class SourceKnown(NamedTuple):
    """What a source was at the moment `known`, in seconds on the monotonic clock, has been told."""

    source: int
    known: float
