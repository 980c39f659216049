"""Messages from the watchers to ConfigPublisher, and of files of authorities against the flow."""

from collections.abc import Mapping
from typing import NamedTuple

from actors.link.messages import ConfigMessage
from clusterf.health.authorities import Authorities

__all__ = ["AuthoritiesRead", "FileNamed", "SourceKnown", "SourceUpdate"]


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


class FileNamed(NamedTuple):
    """Whether a check names the file of authorities at `path`; from ConfigPublisher to AuthoritiesWatcher."""

    path: str
    named: bool


class AuthoritiesRead(NamedTuple):
    """What is known from now on of files of authorities, by path."""

    files: Mapping[str, Authorities]
