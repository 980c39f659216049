"""Which virtual servers in the kernel are ours, recorded across restarts.

A virtual server is recorded before it is added; one that is neither in the
configuration nor recorded is left alone. Recorded with it is how long its real
servers may drain, because its configuration may be gone when it is removed.
"""

import logging
from collections.abc import Iterator, Mapping
from ipaddress import ip_address

import msgspec

from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import Family, Protocol
from clusterf.lib.store import Store
from clusterf.reconcile.drains import TIMEOUT
from clusterf.reconcile.record import Record

__all__ = ["Ownership", "decode", "encode"]

log = logging.getLogger(__name__)


class Ownership:
    """The record in `store` for this boot and network namespace."""

    def __init__(self, store: Store) -> None:
        """Open the record, and drop the records of earlier boots."""
        self._store = store
        self._record = Record(store, "owned")

    def load(self) -> dict[VirtualServer, float]:
        """Return the recorded virtual servers, and how many seconds their real servers may drain."""
        return dict(self._load())

    def _load(self) -> Iterator[tuple[VirtualServer, float]]:
        for key, value in self._record.items():
            try:
                virtual, seconds = decode(key), _decode_seconds(value)
            except (ValueError, KeyError) as error:
                log.error("state: invalid record of a virtual server (ignored): %r: %s", key, error)
                continue
            self._record.found(key, encode(virtual))
            yield virtual, seconds

    def record(self, changes: Mapping[VirtualServer, float | None]) -> None:
        """Record virtual servers of ours, with the seconds that their real servers may drain; None: no longer ours."""
        self._record.update({encode(v): None if s is None else _encode_seconds(s) for v, s in changes.items()})

    def keep(self) -> None:
        """Write what could not be written; to be called every KEEP_INTERVAL. The rest of the store is kept with it."""
        self._store.keep()

    def close(self) -> None:
        """Write what could not be written, if that can be, and close the store."""
        self._store.close()


def encode(virtual: VirtualServer) -> bytes:
    """Return a virtual server as it is recorded."""
    protocol = virtual.protocol.name if virtual.protocol is not None else None
    address = str(virtual.address) if virtual.address is not None else None
    return msgspec.json.encode([virtual.family.name, protocol, address, virtual.port, virtual.fwmark])


def _encode_seconds(seconds: float) -> bytes:
    return b"" if seconds == TIMEOUT else msgspec.json.encode(seconds)


def _decode_seconds(value: bytes) -> float:
    return msgspec.json.decode(value, type=float) if value else TIMEOUT


def decode(key: bytes) -> VirtualServer:
    """Return the virtual server that is recorded so. Raises ValueError or KeyError."""
    family, protocol, address, port, fwmark = msgspec.json.decode(
        key, type=tuple[str, str | None, str | None, int, int]
    )
    return VirtualServer(
        Family[family],
        Protocol[protocol] if protocol is not None else None,
        ip_address(address) if address is not None else None,
        port,
        fwmark,
    )
