"""IP addresses, families, protocols, endpoints and names of interfaces: parsed and checked once, at the edge."""

import os
import re
from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import AF_INET, AF_INET6, inet_pton
from typing import Self

import msgspec

from clusterf.lib.text import escape

__all__ = [
    "Endpoint",
    "Family",
    "IPAddress",
    "IPNetwork",
    "Protocol",
    "check_interface",
    "check_real_server_address",
    "check_vip",
    "is_within",
    "parse_endpoint",
    "parse_ip",
    "parse_ipv4",
    "parse_ipv6",
    "parse_real_server_address",
]

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_BROADCAST = IPv4Address("255.255.255.255")
_LOOPBACK_BROADCAST = IPv4Address("127.255.255.255")
_LONGEST_INTERFACE = 15  # bytes, IFNAMSIZ less the zero at its end


class Family(IntEnum):
    """An address family, by its number in `AF_*`."""

    IPV4 = 2
    IPV6 = 10

    @classmethod
    def of(cls, address: IPAddress) -> Self:
        """Return the family of `address`."""
        return cls(2 if address.version == 4 else 10)


class Protocol(IntEnum):
    """A transport protocol that IPVS balances, by its number in `IPPROTO_*`."""

    TCP = 6
    UDP = 17
    SCTP = 132


def parse_ipv4(text: str) -> IPv4Address:
    """Return the address that `text` is. Raises ValueError."""
    # the C library parses far faster than ipaddress, and accepts no zones
    try:
        return IPv4Address(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        raise ValueError(f"not an IPv4 address: {text}") from None


def parse_ipv6(text: str) -> IPv6Address:
    """Return the address that `text` is. Raises ValueError."""
    try:
        return IPv6Address(inet_pton(AF_INET6, text))
    except (OSError, ValueError):
        raise ValueError(f"not an IPv6 address (a zone is not part of one): {text}") from None


def parse_ip(text: str) -> IPAddress:
    """Return the address of either family that `text` is. Raises ValueError."""
    return parse_ipv6(text) if ":" in text else parse_ipv4(text)


def check_vip(address: IPAddress) -> None:
    """Raise ValueError if `address` cannot be a VIP: no client could connect to it."""
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        raise ValueError(f"unspecified, multicast or broadcast address: {address}")


def check_real_server_address(address: IPAddress) -> None:
    """Raise ValueError if the kernel refuses a real server with `address`."""
    check_vip(address)
    if address == _LOOPBACK_BROADCAST:
        raise ValueError(f"broadcast address: {address}")
    if isinstance(address, IPv6Address) and (address.is_link_local or address.ipv4_mapped):
        raise ValueError(f"link-local or IPv4-mapped address: {address}")


def is_within(address: IPAddress | None, networks: Iterable[IPNetwork]) -> bool:
    """Tell whether there is an address, and one of the networks contains it."""
    return address is not None and any(address in network for network in networks)


def parse_real_server_address(text: str) -> IPAddress:
    """Return the address that `text` is. Raises ValueError, also if the kernel refuses a real server with it."""
    address = parse_ip(text)
    check_real_server_address(address)
    return address


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


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint that `ADDRESS:PORT` names, an IPv6 address in brackets.

    Raises ValueError with the reason.
    """
    match = re.fullmatch(r"([0-9.]+|\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]):([0-9]{1,5})", text, re.ASCII)
    if match is None or not 0 < int(match[2]) < 1 << 16:
        raise ValueError(f"{text}: needs ADDRESS:PORT, as in 192.0.2.1:53 or [2001:db8::1]:53")
    address = ip_address(match[1].strip("[]"))
    if address.is_unspecified or address.is_multicast or (address.version == 6 and address.is_link_local):
        raise ValueError(f"{text}: {address}: unspecified, multicast or link-local address")
    return Endpoint(address.packed, int(match[2]))


def check_interface(name: str) -> None:
    """Raise ValueError unless `name` is valid for an interface (`dev_valid_name` in `net/core/dev.c`) and printable."""
    packed = os.fsencode(name)
    shown = escape(packed)
    if not packed or len(packed) > _LONGEST_INTERFACE:
        raise ValueError(f"the name of an interface must have 1 to {_LONGEST_INTERFACE} bytes: {shown!r}")
    if shown != name or name in {".", ".."} or re.search(r"[/:\s]", name):
        raise ValueError(f"invalid name of an interface: {shown!r}")
