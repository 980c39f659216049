"""Announcing to the neighbours on an Ethernet that an address has moved here.

By gratuitous ARP (RFC 5227, 2.3) and unsolicited neighbour advertisements (RFC
4861, 7.2.6), so that neighbours that cached another machine's hardware address
replace it at once. The kernel does this only when an interface comes up, or
after duplicate address detection, which takes a second.
"""

import socket
from collections.abc import Iterable, Sequence
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from clusterf.host.interfaces import Interface
from clusterf.lib.addresses import IPAddress

__all__ = ["advertisement", "announce", "gratuitous_arp"]

_TIMEOUT = 1.0  # seconds that sending a frame may take

_ETHERNET, _ETH_P_IP, _ETH_P_ARP = 1, 0x0800, 0x0806
_ARP_REQUEST = 1
_ARP = Struct("!HHBBH6s4s6s4s")
_EVERYBODY = b"\xff" * 6

_ADVERTISEMENT = Struct("!BBHI16sBB6s")
_NEIGHBOUR_ADVERTISEMENT = 136
_ROUTER, _OVERRIDE = 1 << 31, 1 << 29
_TARGET_HARDWARE = 2  # the option: the target's link-layer address
_ALL_NODES = "ff02::1"
_HOPS = 255  # with fewer, the packet has passed a router, and is ignored
_PACKET_INFO = Struct("=16sI")  # struct in6_pktinfo, ipv6(7)


def announce(link: Interface, addresses: Sequence[IPAddress]) -> None:
    """Announce once that these addresses are on `link`, an Ethernet that is running.

    Raises OSError: EPERM without CAP_NET_RAW.
    """
    ipv4 = [address for address in addresses if isinstance(address, IPv4Address)]
    ipv6 = [address for address in addresses if isinstance(address, IPv6Address)]
    if ipv4:
        _announce_ipv4(link, ipv4)
    if ipv6:
        _announce_ipv6(link, ipv6)


def gratuitous_arp(hardware: bytes, address: IPv4Address) -> bytes:
    """Return an ARP request for `address` from its owner, without the Ethernet header."""
    packed = address.packed
    return _ARP.pack(_ETHERNET, _ETH_P_IP, 6, 4, _ARP_REQUEST, hardware, packed, bytes(6), packed)


def advertisement(hardware: bytes, address: IPv6Address, *, router: bool) -> bytes:
    """Return an unsolicited neighbour advertisement, without a checksum.

    `router` must equal the flag in the kernel's own, or neighbours remove us from their routers.
    """
    flags = _OVERRIDE | (_ROUTER if router else 0)
    return _ADVERTISEMENT.pack(_NEIGHBOUR_ADVERTISEMENT, 0, 0, flags, address.packed, _TARGET_HARDWARE, 1, hardware)


def _announce_ipv4(link: Interface, addresses: Iterable[IPv4Address]) -> None:
    # protocol 0: it receives nothing
    with closing(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)) as channel:
        channel.settimeout(_TIMEOUT)
        for address in addresses:
            channel.sendto(gratuitous_arp(link.hardware, address), (link.name, _ETH_P_ARP, 0, 0, _EVERYBODY))


def _announce_ipv6(link: Interface, addresses: Iterable[IPv6Address]) -> None:
    with closing(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)) as channel:
        channel.settimeout(_TIMEOUT)
        channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
        channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        for address in addresses:
            source = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PACKET_INFO.pack(address.packed, link.index))
            message = advertisement(link.hardware, address, router=link.router)
            channel.sendmsg([message], [source], 0, (_ALL_NODES, 0, 0, link.index))
