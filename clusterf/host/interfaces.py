"""The network interfaces of a network namespace and their addresses.

`clusterf.host.rtnetlink` has the real ones, `ShadowInterfaces` is what
`--noop` uses. `first_ipv4_address` needs neither: it is for those who want one
address, and not the 20 MB of the library that speaks rtnetlink.
"""

import fcntl
import socket
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple, Protocol

import msgspec

from clusterf.lib.addresses import IPAddress

__all__ = ["HostAddress", "Interface", "Interfaces", "PresentAddress", "ShadowInterfaces", "first_ipv4_address"]

_SIOCGIFADDR: Final = 0x8915
_REQUEST: Final = Struct("16s4x4s16x")  # an ifreq with a sockaddr_in, netdevice(7)


class Interface(msgspec.Struct, frozen=True):
    """A network interface.

    `hardware` is its Ethernet address, empty if there are no neighbours to announce an address to.
    """

    index: int
    name: str
    up: bool  # by its administrator
    running: bool  # and has a carrier
    router: bool  # forwards IPv6
    hardware: bytes
    kind: str = ""  # of driver, as `ipip` or `veth`; empty for a physical one
    loopback: bool = False
    arp: bool = True  # answers ARP requests for its addresses


class HostAddress(NamedTuple):
    """A whole address (/32 or /128) on an interface, by the interface's index."""

    interface: int
    address: IPAddress


class PresentAddress(NamedTuple):
    """An address that an interface has; `length` is that of its prefix."""

    interface: int
    address: IPAddress
    length: int


class Interfaces(Protocol):
    """The interfaces of a network namespace. Every method may raise OSError, and each exchange has a deadline."""

    def read(self, name: str | None) -> tuple[Interface | None, list[PresentAddress]]:
        """Return the interface of that name, if there is one, and all addresses of all interfaces."""

    def add(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Add addresses; return an errno for each, 0 if it was added, EEXIST if it was there."""

    def remove(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Remove addresses; return an errno for each, 0 if it was removed or was not there."""

    def name_of(self, index: int) -> str:
        """Return the name of an interface, something like `if7` if it has gone."""


class ShadowInterfaces:
    """The interfaces as they were when first read, with the changes that `--noop` only logs."""

    def __init__(self, interfaces: Interfaces) -> None:
        self._interfaces = interfaces
        self._shadow: tuple[Interface | None, list[PresentAddress]] | None = None

    def read(self, name: str | None) -> tuple[Interface | None, list[PresentAddress]]:
        """Return the interface, read again until it exists, and the addresses of the shadow."""
        if self._shadow is None or self._shadow[0] is None:
            self._shadow = self._interfaces.read(name)
        return self._shadow[0], list(self._shadow[1])

    def add(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Add addresses to the shadow."""
        if self._shadow is not None:
            self._shadow[1].extend(PresentAddress(*placed, placed.address.max_prefixlen) for placed in addresses)
        return [0] * len(addresses)

    def remove(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Remove addresses from the shadow."""
        gone = {PresentAddress(*placed, placed.address.max_prefixlen) for placed in addresses}
        if self._shadow is not None:
            self._shadow[1][:] = [present for present in self._shadow[1] if present not in gone]
        return [0] * len(addresses)

    def name_of(self, index: int) -> str:
        """Return the name of an interface."""
        return self._interfaces.name_of(index)


def first_ipv4_address(name: str) -> str:
    """Return the first IPv4 address of an interface. Raises OSError: EADDRNOTAVAIL if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFADDR, _REQUEST.pack(name.encode(), b""))
    return socket.inet_ntoa(_REQUEST.unpack(answer)[1])
