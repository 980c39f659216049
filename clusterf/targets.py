"""What to probe: the targets that the backends of checked services make.

A backend is probed at its own address, one endpoint for each family that its
frontend has. Both ends of the verdicts' way need this: who probes, and who
has to know which verdict counts for which real server.
"""

from ipaddress import IPv4Address, IPv6Address

import msgspec

from clusterf.model import Backend, Frontend, HealthCheck
from clusterf.table import Family, IPAddress, Protocol

__all__ = ["Endpoint", "Target", "endpoint", "probed"]


class Endpoint(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """An address, as its 4 or 16 bytes, and a TCP port: where a backend is probed."""

    packed: bytes
    port: int

    @property
    def address(self) -> IPAddress:
        """The address."""
        return IPv4Address(self.packed) if len(self.packed) == 4 else IPv6Address(self.packed)

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if len(self.packed) == 4 else f"[{self.address}]:{self.port}"


class Target(msgspec.Struct, frozen=True, gc=False):
    """One thing to be probed, however many backends it stands for: an endpoint, and how.

    `check` is as `probed` returns it, so that checks which probe alike are equal.
    """

    endpoint: Endpoint
    check: HealthCheck


def probed(check: HealthCheck) -> HealthCheck:
    """Return `check` without what is about the effect of a verdict, and not about the probes."""
    plain = HealthCheck()
    return msgspec.structs.replace(check, panic_threshold=plain.panic_threshold, on_down=plain.on_down)


def endpoint(frontend: Frontend, backend: Backend, check: HealthCheck | None, family: Family) -> Endpoint | None:
    """Return where `backend` is probed for the virtual servers of `family`; None: it is not.

    That is so without a check, or one of the type `none`, without an address
    of the family, and where neither the check nor the backend names a TCP port
    (a service of UDP or SCTP alone has a check that names one; one that is
    told by its mark alone may be of TCP).
    """
    address = backend.ipv4 if family is Family.IPV4 else backend.ipv6
    if check is None or check.type == "none" or address is None:
        return None
    tcp = frontend.tcp is not None or all(frontend.port(protocol) is None for protocol in Protocol)
    port = check.port or (backend.tcp if tcp else None)
    return Endpoint(address.packed, port) if port is not None else None
