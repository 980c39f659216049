"""What is recorded of a source beside its values: what it was that they came from."""

import logging
from typing import TypeVar

import msgspec

from clusterf.lib.store import Store

__all__ = ["SourceRecord"]

T = TypeVar("T")

log = logging.getLogger(__name__)


class SourceRecord:
    """Values by name, recorded for the source at `url` in a section of the store that holds no keys of the source."""

    def __init__(self, url: str, store: Store) -> None:
        self._section = self.section(url)
        self._store = store

    @staticmethod
    def section(url: str) -> str:
        """Return the section of the store that has the record of the source at `url`."""
        return f"origin {url}"

    def get(self, name: str, type_: type[T]) -> T | None:
        """Return the value called `name`; None if there is none, or none of this type."""
        raw = self._store.get(self._section, name.encode())
        if raw is None:
            return None
        try:
            return msgspec.msgpack.decode(raw, type=type_)
        except (ValueError, RecursionError, msgspec.DecodeError) as error:
            log.error("%s: recorded %s invalid: %s (ignored)", self._section.removeprefix("origin "), name, error)
            return None

    def put(self, name: str, value: object) -> None:
        """Record the value called `name`; None: none."""
        raw = msgspec.msgpack.encode(value) if value is not None else None
        if raw != self._store.get(self._section, name.encode()):
            self._store.update(self._section, {name.encode(): raw})
