"""Which virtual servers in the kernel are ours, on record across restarts.

The kernel does not say who made a virtual server. So what we make is written
down before it is made, and what is neither in the configuration nor on record
is left alone. A record counts for one boot and one network namespace, as the
tables of others are others'.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address

import msgspec

from clusterf.boot import boot_id
from clusterf.state import KeyedStore
from clusterf.table import Family, Protocol, VirtualServer

__all__ = ["Ownership"]

log = logging.getLogger(__name__)


class Ownership:
    """The record in `store` for this boot and network namespace."""

    def __init__(self, store: KeyedStore) -> None:
        """Open the record, and drop those of earlier boots."""
        boot = boot_id()
        self._store = store
        self._section = f"owned {boot} {os.stat('/proc/self/ns/net').st_ino}"  # noqa: PTH116
        store.drop("owned ", but=f"owned {boot} ")

    def load(self) -> set[VirtualServer]:
        """Return the virtual servers on record."""
        return set(self._load())

    def _load(self) -> Iterator[VirtualServer]:
        for key, _ in self._store.items(self._section):
            try:
                yield _decode(key)
            except (ValueError, KeyError) as error:
                log.error("state: a virtual server on record is not understood, and left alone: %r: %s", key, error)

    def record(self, changes: Mapping[VirtualServer, bool]) -> None:
        """Write down what has become ours (True) and what has ceased to be."""
        self._store.update(self._section, {_encode(v): b"" if ours else None for v, ours in changes.items()})


def _encode(virtual: VirtualServer) -> bytes:
    protocol = virtual.protocol.name if virtual.protocol is not None else None
    address = str(virtual.address) if virtual.address is not None else None
    return msgspec.json.encode([virtual.family.name, protocol, address, virtual.port, virtual.fwmark])


def _decode(key: bytes) -> VirtualServer:
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
