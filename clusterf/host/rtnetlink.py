"""Network interfaces over rtnetlink: a thin client of pyroute2, which takes 0.5 s and 20 MB to load.

So only who needs it imports this module. To read needs no privilege, to
change addresses CAP_NET_ADMIN; nothing else is ever changed.
"""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkDecodeError, NetlinkError

from clusterf.host.interfaces import HostAddress, Interface, PresentAddress
from clusterf.lib.addresses import Family

__all__ = ["RtnetlinkInterfaces"]

T = TypeVar("T")

_UP, _LOOPBACK, _RUNNING, _NO_ARP = 0x1, 0x8, 0x40, 0x80  # IFF_* of netdevice(7)
_ETHERNET = 1  # ARPHRD_ETHER
_FAMILIES = frozenset(Family)  # others, such as Phonet and MCTP, have addresses too
_NO_DUPLICATE_SEARCH = 0x2  # IFA_F_NODAD
_DUMP_INTERRUPTED = 0x10
_DUMP_ATTEMPTS = 5


class RtnetlinkInterfaces:
    """The interfaces of this network namespace. The kernel has `deadline` seconds for each answer."""

    def __init__(self, deadline: float = 10.0) -> None:
        self._deadline = deadline

    def read(self, name: str | None) -> tuple[Interface | None, list[PresentAddress]]:
        """Return the interface of that name, if there is one, and all addresses. Raises OSError."""

        async def work(route: AsyncIPRoute) -> tuple[Interface | None, list[PresentAddress]]:
            interface = await self._interface(route, name) if name is not None else None
            return interface, await self._addresses(route)

        return self._run(work)

    def read_all(self) -> tuple[list[Interface], list[PresentAddress]]:
        """Return all interfaces and all addresses. Raises OSError."""

        async def work(route: AsyncIPRoute) -> tuple[list[Interface], list[PresentAddress]]:
            interfaces = await self._dump(lambda: route.link("dump"))
            return list(map(_interface_of, interfaces)), await self._addresses(route)

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
        """Return the name of an interface, something like `if7` if it has gone."""
        try:
            return socket.if_indextoname(index)
        except OSError:
            return f"if{index}"

    async def _interface(self, route: AsyncIPRoute, name: str) -> Interface | None:
        error, found = await self._ask(route.link("get", ifname=name))
        if error == errno.ENODEV:
            return None
        if error or not found:
            raise OSError(error or errno.EBADMSG, f"the interface {name} cannot be read")
        return _interface_of(found[0])

    async def _addresses(self, route: AsyncIPRoute) -> list[PresentAddress]:
        messages = await self._dump(lambda: route.addr("dump"))
        return [_present(message) for message in messages if message["family"] in _FAMILIES]

    async def _dump(self, request: Callable[[], Awaitable[AsyncIterator[Any]]]) -> list[Any]:
        for _ in range(_DUMP_ATTEMPTS):
            async with asyncio.timeout(self._deadline):
                messages = [message async for message in await request()]
            if not any(message["header"]["flags"] & _DUMP_INTERRUPTED for message in messages):
                return messages
        raise OSError(errno.EAGAIN, "the interfaces cannot be read: they changed during each dump")

    def _change(self, command: str, addresses: Sequence[HostAddress]) -> list[int]:
        async def work(route: AsyncIPRoute) -> list[int]:
            return [(await self._ask(route.addr(command, **_arguments(address))))[0] for address in addresses]

        return self._run(work)

    async def _ask(self, request: Awaitable[list[Any]]) -> tuple[int, list[Any]]:
        """Return the errno of a request, 0 if it was done, and the answers."""
        try:
            async with asyncio.timeout(self._deadline):
                return 0, await request
        except NetlinkError as error:
            return int(error.code), []

    def _run(self, work: Callable[[AsyncIPRoute], Awaitable[T]]) -> T:
        async def within() -> T:
            async with AsyncIPRoute() as route:
                return await work(route)

        try:
            return asyncio.run(within())
        except NetlinkError as error:
            raise OSError(error.code, f"the interfaces cannot be read: {os.strerror(error.code)}") from error
        except (NetlinkDecodeError, ValueError) as error:
            raise OSError(errno.EBADMSG, f"the kernel's answer is invalid: {error!r}") from error
        except TimeoutError as error:
            raise TimeoutError(errno.ETIMEDOUT, "the kernel did not answer in time") from error


def _interface_of(message: Any) -> Interface:
    flags = message["flags"]
    name = message.get_attr("IFLA_IFNAME")  # text if it is UTF-8, else bytes
    silent = bool(flags & (_LOOPBACK | _NO_ARP))
    ethernet = message["ifi_type"] == _ETHERNET and not silent
    configuration = message.get_nested("IFLA_AF_SPEC", "AF_INET6", "IFLA_INET6_CONF") or {}
    return Interface(
        message["index"],
        os.fsdecode(name),
        up=bool(flags & _UP),
        running=flags & (_UP | _RUNNING) == _UP | _RUNNING,
        router=bool(configuration.get("forwarding")),
        hardware=bytes.fromhex(message.get_attr("IFLA_ADDRESS").replace(":", "")) if ethernet else b"",
        kind=message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "",
        loopback=bool(flags & _LOOPBACK),
        arp=not silent,
    )


def _present(message: Any) -> PresentAddress:
    # on a point-to-point link the other one is the peer's
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return PresentAddress(message["index"], ip_address(address), message["prefixlen"])


def _arguments(placed: HostAddress) -> dict[str, object]:
    address = placed.address
    arguments = {"index": placed.interface, "address": str(address), "prefixlen": address.max_prefixlen}
    return arguments if address.version == 4 else arguments | {"flags": _NO_DUPLICATE_SEARCH, "preferred_lft": 0}
