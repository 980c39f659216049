"""Addresses on network interfaces, over rtnetlink: a thin client of pyroute2.

Nothing but the addresses that it is told to add or remove is changed. To look
needs no privilege, to change anything CAP_NET_ADMIN. `ShadowInterfaces` is
what `--noop` uses.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from clusterf.lib.addresses import Family, IPAddress

__all__ = ["HostAddress", "Interface", "Interfaces", "PresentAddress", "RtnetlinkInterfaces", "ShadowInterfaces"]

T = TypeVar("T")

_UP, _LOOPBACK, _RUNNING, _NO_ARP = 0x1, 0x8, 0x40, 0x80  # IFF_* of netdevice(7)
_ETHERNET = 1  # ARPHRD_ETHER
_FAMILIES = frozenset(Family)  # others, such as Phonet and MCTP, have addresses too
_NO_DUPLICATE_SEARCH = 0x2  # IFA_F_NODAD
_DUMP_INTERRUPTED = 0x10
_DUMP_ATTEMPTS = 5


class Interface(msgspec.Struct, frozen=True):
    """An interface. `hardware` is its Ethernet address, empty if it has no neighbours there to be told anything."""

    index: int
    name: str
    up: bool
    router: bool  # whether it forwards IPv6
    hardware: bytes


class HostAddress(NamedTuple):
    """A whole address on an interface, by the interface's index."""

    interface: int
    address: IPAddress


class PresentAddress(NamedTuple):
    """An address that is there; `length` is that of its prefix."""

    interface: int
    address: IPAddress
    length: int


class Interfaces(Protocol):
    """The interfaces of a network namespace. Every method may raise OSError, and each exchange has a deadline."""

    def look(self, name: str | None) -> tuple[Interface | None, list[PresentAddress]]:
        """Return the interface of that name, if there is one, and all addresses on all interfaces."""

    def add(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Add addresses; return an errno for each, 0 where it is done, EEXIST where it was there."""

    def remove(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Remove addresses; return an errno for each, 0 where it is done or was not there."""

    def name_of(self, index: int) -> str:
        """Return the name of an interface, something like `if7` if it has gone."""


class RtnetlinkInterfaces:
    """The interfaces of this network namespace. The kernel has `deadline` seconds for each answer."""

    def __init__(self, deadline: float = 10.0) -> None:
        self._deadline = deadline

    def look(self, name: str | None) -> tuple[Interface | None, list[PresentAddress]]:
        """Return the interface and all addresses, as `Interfaces` says."""

        async def work(route: Any) -> tuple[Interface | None, list[PresentAddress]]:
            link = await self._link(route, name) if name is not None else None
            return link, await self._addresses(route)

        return self._run(work)

    def add(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Add addresses, which are usable at once.

        An IPv6 address is deprecated from the start: it serves, but no
        connection of this machine's own begins from it (RFC 6724, rule 3).
        """
        return self._change("add", addresses)

    def remove(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Remove addresses. One that is not there counts as removed, as its interface may have gone."""
        gone = {errno.EADDRNOTAVAIL, errno.ENODEV}
        return [0 if error in gone else error for error in self._change("del", addresses)]

    def name_of(self, index: int) -> str:
        """Return the name of an interface, as `Interfaces` says."""
        try:
            return socket.if_indextoname(index)
        except OSError:
            return f"if{index}"

    async def _link(self, route: Any, name: str) -> Interface | None:
        error, found = await self._ask(route.link("get", ifname=name))
        if error == errno.ENODEV:
            return None
        if error or not found:
            raise OSError(error or errno.EBADMSG, f"the interface {name} cannot be looked at")
        return _link_of(name, found[0])

    async def _addresses(self, route: Any) -> list[PresentAddress]:
        for _ in range(_DUMP_ATTEMPTS):
            async with asyncio.timeout(self._deadline):
                found = [message async for message in await route.addr("dump")]
            if not any(message["header"]["flags"] & _DUMP_INTERRUPTED for message in found):
                return [_present(message) for message in found if message["family"] in _FAMILIES]
        raise OSError(errno.EAGAIN, "the addresses changed during each dump of them")

    def _change(self, command: str, addresses: Sequence[HostAddress]) -> list[int]:
        async def work(route: Any) -> list[int]:
            return [(await self._ask(route.addr(command, **_arguments(placed))))[0] for placed in addresses]

        return self._run(work)

    async def _ask(self, request: Awaitable[list[Any]]) -> tuple[int, list[Any]]:
        """Return the errno of a request, 0 if it was done, and the answers."""
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

        try:
            async with asyncio.timeout(self._deadline):
                return 0, await request
        except NetlinkError as error:
            return int(error.code), []

    def _run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        # loading it costs 0.3 s and 20 MB, so only who keeps addresses pays for it
        from pyroute2 import AsyncIPRoute  # noqa: PLC0415
        from pyroute2.netlink.exceptions import NetlinkDecodeError, NetlinkError  # noqa: PLC0415

        async def within() -> T:
            async with AsyncIPRoute() as route:
                return await work(route)

        try:
            return asyncio.run(within())
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error
        except (NetlinkDecodeError, ValueError) as error:
            raise OSError(errno.EBADMSG, f"the kernel's answer is not understood: {error!r}") from error
        except TimeoutError as error:
            raise TimeoutError(errno.ETIMEDOUT, "the kernel did not answer in time") from error


class ShadowInterfaces:
    """What the interfaces are when it is first looked at, and would be after what it is told."""

    def __init__(self, interfaces: Interfaces) -> None:
        self._interfaces = interfaces
        self._seen: tuple[Interface | None, list[PresentAddress]] | None = None

    def look(self, name: str | None) -> tuple[Interface | None, list[PresentAddress]]:
        """Return the interface, looked for again as long as there is none, and the addresses in the shadow."""
        if self._seen is None or self._seen[0] is None:
            self._seen = self._interfaces.look(name)
        return self._seen[0], list(self._seen[1])

    def add(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Add addresses to the shadow."""
        if self._seen is not None:
            self._seen[1].extend(PresentAddress(*placed, placed.address.max_prefixlen) for placed in addresses)
        return [0] * len(addresses)

    def remove(self, addresses: Sequence[HostAddress]) -> list[int]:
        """Remove addresses from the shadow."""
        gone = {PresentAddress(*placed, placed.address.max_prefixlen) for placed in addresses}
        if self._seen is not None:
            self._seen[1][:] = [present for present in self._seen[1] if present not in gone]
        return [0] * len(addresses)

    def name_of(self, index: int) -> str:
        """Return the name of an interface."""
        return self._interfaces.name_of(index)


def _link_of(name: str, message: Any) -> Interface:
    flags = message["flags"]
    ethernet = message["ifi_type"] == _ETHERNET and not flags & (_LOOPBACK | _NO_ARP)
    configuration = message.get_nested("IFLA_AF_SPEC", "AF_INET6", "IFLA_INET6_CONF") or {}
    return Interface(
        message["index"],
        name,
        up=flags & (_UP | _RUNNING) == _UP | _RUNNING,
        router=bool(configuration.get("forwarding")),
        hardware=bytes.fromhex(message.get_attr("IFLA_ADDRESS").replace(":", "")) if ethernet else b"",
    )


def _present(message: Any) -> PresentAddress:
    # on a point-to-point link the other one is the peer's
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return PresentAddress(message["index"], ip_address(address), message["prefixlen"])


def _arguments(placed: HostAddress) -> dict[str, object]:
    address = placed.address
    arguments = {"index": placed.interface, "address": str(address), "prefixlen": address.max_prefixlen}
    return arguments if address.version == 4 else arguments | {"flags": _NO_DUPLICATE_SEARCH, "preferred_lft": 0}
