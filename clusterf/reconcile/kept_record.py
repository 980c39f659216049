"""What was found in the kernel and is kept though nobody configures it, recorded across restarts of the director.

A later director keeps the same for the same doubts, and nothing that left the configuration since.
"""

import logging
from collections.abc import Set as AbstractSet
from ipaddress import ip_address
from typing import NamedTuple

import msgspec

from clusterf.ipvs.table import RealServer, VirtualServer
from clusterf.reconcile.ownership import decode, encode
from clusterf.reconcile.record import Record

__all__ = ["NONE_KEPT", "Kept", "KeptRecord"]

log = logging.getLogger(__name__)

_KEY = b"kept"
_Entry = tuple[bytes, tuple[str, int] | None]


class Kept(NamedTuple):
    """The doubts that were there when it was decided what to keep, and what of that is still kept.

    A server is a real server in a virtual server, or with None the virtual server itself.
    """

    doubts: AbstractSet[str] = frozenset()
    servers: AbstractSet[tuple[VirtualServer, RealServer | None]] = frozenset()


NONE_KEPT = Kept()


class KeptRecord:
    """The record of it; without a `record` nothing is remembered."""

    def __init__(self, record: Record | None = None) -> None:
        self._record = record
        self._saved = NONE_KEPT

    def load(self) -> Kept:
        """Return what is recorded."""
        raw = self._record.get(_KEY) if self._record is not None else None
        try:
            self._saved = _decode(raw) if raw is not None else NONE_KEPT
        except (ValueError, KeyError, RecursionError) as error:
            log.error("state: invalid record of what is kept (ignored): %s", error)
        return self._saved

    def save(self, kept: Kept) -> None:
        """Record it."""
        if self._record is not None and kept != self._saved:
            self._saved = kept
            self._record.update({_KEY: _encode(kept) if kept != NONE_KEPT else None})


def _encode(kept: Kept) -> bytes:
    entries = [(encode(v), (str(real.address), real.port) if real is not None else None) for v, real in kept.servers]
    return msgspec.msgpack.encode((sorted(kept.doubts), entries))


def _decode(raw: bytes) -> Kept:
    doubts, entries = msgspec.msgpack.decode(raw, type=tuple[list[str], list[_Entry]])
    servers = [(decode(v), RealServer(ip_address(at[0]), at[1]) if at is not None else None) for v, at in entries]
    return Kept(frozenset(doubts), frozenset(servers))
