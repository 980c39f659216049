"""Backends that stay out of rotation for a while as their check has gone, recorded across restarts of the director.

Times are in seconds on the monotonic clock, which is one for all processes of a boot, as the record is.
"""

import logging
from collections.abc import Iterator, Mapping

import msgspec

from clusterf.ipvs.table import VirtualServer
from clusterf.lib.mapping import put
from clusterf.reconcile.ownership import decode, encode
from clusterf.reconcile.record import Record

__all__ = ["LapseRecord"]

log = logging.getLogger(__name__)

Membership = tuple[bytes, bytes, VirtualServer]
"""Of a service's backend in a virtual server."""


class LapseRecord:
    """Until when members stay out of rotation; without a `record` nothing is kept.

    Negative: for so many seconds, if they turn out to have no check any more.
    """

    def __init__(self, record: Record | None = None) -> None:
        self._record = record
        self._saved: dict[Membership, float] = {}

    def load(self) -> dict[Membership, float]:
        """Return what is recorded."""
        self._saved = dict(self._load())
        return dict(self._saved)

    def update(self, lapses: Mapping[Membership, float | None]) -> None:
        """Record these, None: it does not stay out."""
        if self._record is None:
            return
        changes = {_key(m): msgspec.json.encode(u) if u is not None else None for m, u in self._changes(lapses)}
        if changes:
            self._record.update(changes)

    def _changes(self, lapses: Mapping[Membership, float | None]) -> Iterator[tuple[Membership, float | None]]:
        for membership, until in lapses.items():
            if put(self._saved, membership, until):
                yield membership, until

    def _load(self) -> Iterator[tuple[Membership, float]]:
        if self._record is None:
            return
        for key, value in self._record.items():
            try:
                service, backend, virtual = msgspec.msgpack.decode(key, type=tuple[bytes, bytes, bytes])
                membership = service, backend, decode(virtual)
                until = msgspec.json.decode(value, type=float)
            except (ValueError, KeyError, RecursionError) as error:
                log.error("state: invalid record of a backend without a check (ignored): %r: %s", key, error)
                continue
            self._record.found(key, _key(membership))
            yield membership, until


def _key(membership: Membership) -> bytes:
    service, backend, virtual = membership
    return msgspec.msgpack.encode((service, backend, encode(virtual)))
