"""A keeper of VIPs on fake interfaces, with its record on disk."""

import errno
from ipaddress import ip_address

import msgspec

from clusterf.host.interfaces import ShadowInterfaces
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import Family, Protocol
from clusterf.lib.store import Store
from clusterf.reconcile.record import Record
from clusterf.vip.keeper import VipKeeper
from tests.clusterf.support.fake_interfaces import FakeInterfaces

__all__ = ["A", "B", "C", "Keeping", "lines", "raise_timeout", "virtuals"]

A, B, C = (ip_address(text) for text in ("10.1.1.1", "10.1.1.2", "fd00::1"))


def virtuals(*addresses, ours=True):
    return {VirtualServer(Family.of(address), Protocol.TCP, address, 80): ours for address in addresses}


class Keeping:
    """A keeper on fake interfaces with a record on disk."""

    def __init__(self, path):
        self.path = path
        self.interfaces = FakeInterfaces()
        self.announced = []
        self.mute = None
        self.now = 0.0

    def announce(self, link, addresses):
        if self.mute is not None:
            raise self.mute
        self.announced.append((link.name, set(addresses)))

    def start(self, name="eth0", *needed, noop=False, excluded=()):
        """Return a keeper, as a node that starts makes it; `needed`: addresses of virtual servers on record."""
        interfaces = ShadowInterfaces(self.interfaces) if noop else self.interfaces
        store = Store(self.path, read_only=noop)
        announce = None if noop else self.announce
        record = Record(store, "addresses")
        keeper = VipKeeper(
            *(name, record, interfaces, announce), excluded=excluded.__contains__, noop=noop, clock=lambda: self.now
        )
        keeper.follow(virtuals(*needed))
        return keeper

    @property
    def recorded(self):
        return {tuple(msgspec.json.decode(key)) for key, _ in Record(Store(self.path), "addresses").items()}


def raise_timeout(_):
    raise TimeoutError(errno.ETIMEDOUT, "the kernel did not answer in time")


def lines(caplog):
    return [line for record in caplog.records for line in record.getMessage().splitlines()]
