"""A table in memory that behaves like the kernel's, refusals included: `--noop` writes to it."""

import errno
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from clusterf.ipvs.table import (
    SCHEDULERS,
    ConnectionCount,
    Method,
    Op,
    RealServer,
    RealServerSettings,
    Step,
    Table,
    VirtualServer,
    VirtualServerSettings,
    VirtualServerState,
)
from clusterf.lib.addresses import Family, IPAddress

__all__ = ["ShadowKernel"]

_MAX_WEIGHT = 2**31 - 1
_BROADCAST = IPv4Address("255.255.255.255")


class ShadowKernel:
    """A `Kernel` in memory: a table that takes steps as the kernel does, errors included."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table if table is not None else Table()

    def read(self) -> Table:
        """Return a copy of the table."""
        return self.table.copy()

    def read_virtuals(self) -> dict[VirtualServer, VirtualServerSettings]:
        """Return a copy of the virtual servers."""
        return dict(self.table.virtuals)

    def read_virtual(self, virtual: VirtualServer) -> VirtualServerState | None:
        """Return a copy of one virtual server. Any thread may call this."""
        settings, reals = self.table.virtuals.get(virtual), self.table.reals.get(virtual)
        return None if settings is None or reals is None else (settings, dict(reals))

    def connections(self, virtual: VirtualServer) -> Mapping[RealServer, ConnectionCount]:
        """Return nothing: a shadow has no connections."""
        del virtual
        return {}

    def apply(self, steps: Sequence[Step]) -> list[int]:
        """Apply the steps to the table; return the errno that the kernel would give for each."""
        return [self._apply(step) for step in steps]

    def _apply(self, step: Step) -> int:
        error = self._refusal(step)
        if not error:
            self.table.apply(step)
        return error

    def _refusal(self, step: Step) -> int:
        exists = step.virtual in self.table.virtuals
        if step.real is None:
            if step.op is Op.ADD_VIRTUAL and exists:
                return errno.EEXIST
            if step.op is not Op.ADD_VIRTUAL and not exists:
                return errno.ESRCH
            assert not isinstance(step.settings, RealServerSettings)
            return _refused_virtual(step.virtual, step.settings)
        if not exists:
            return errno.ESRCH
        assert not isinstance(step.settings, VirtualServerSettings)
        known = step.real in self.table.reals[step.virtual]
        if refused := _refused_real(step.virtual, step.real, step.settings):
            return refused
        if step.op is not Op.ADD_REAL:
            return 0 if known else errno.ENOENT
        return errno.EEXIST if known else _refused_address(step.real.address)

    def flush(self) -> None:
        """Empty the table."""
        self.table = Table()

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _refused_virtual(virtual: VirtualServer, settings: VirtualServerSettings | None) -> int:
    if settings is None:
        return 0
    if settings.scheduler not in SCHEDULERS:
        return errno.ENOENT
    return errno.EINVAL if virtual.family is Family.IPV6 and not 1 <= settings.netmask <= 128 else 0


def _refused_real(virtual: VirtualServer, real: RealServer, settings: RealServerSettings | None) -> int:
    if settings is None:
        return 0
    if settings.method is not Method.TUNNEL and Family.of(real.address) is not virtual.family:
        return errno.EINVAL
    return errno.ERANGE if settings.weight > _MAX_WEIGHT or settings.lower > settings.upper else 0


def _refused_address(address: IPAddress) -> int:
    """Return the errno for an address that no packet can be sent to, 0 for any other."""
    if address.version == 4:
        refused = address == _BROADCAST
    else:
        refused = address.is_link_local or address.ipv4_mapped is not None
    return errno.EINVAL if refused or address.is_multicast or address.is_unspecified else 0
