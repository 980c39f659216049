import asyncio
import errno
import os
import socket
from ipaddress import ip_address

import pytest
from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from clusterf.host.interfaces import HostAddress, PresentAddress
from clusterf.host.rtnetlink import RtnetlinkInterfaces

LOOPBACK = socket.if_nametoindex("lo")


def test_interface_and_all_addresses_are_read():
    link, present = RtnetlinkInterfaces().read("lo")
    assert (link.index, link.name, link.up, link.running, link.hardware) == (LOOPBACK, "lo", True, True, b"")
    assert (link.loopback, link.arp) == (True, False)
    assert PresentAddress(LOOPBACK, ip_address("127.0.0.1"), 8) in present
    assert {name for _, name in socket.if_nameindex()} >= {RtnetlinkInterfaces().name_of(p.interface) for p in present}


def test_missing_interface_is_none():
    link, present = RtnetlinkInterfaces().read("nosuch0")
    assert link is None
    assert present
    assert RtnetlinkInterfaces().read(None)[0] is None
    assert RtnetlinkInterfaces().name_of(99999) == "if99999"


def test_silent_kernel_times_out(monkeypatch):
    async def hang(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(AsyncIPRoute, "addr", hang)
    interfaces = RtnetlinkInterfaces(deadline=0.05)
    for ask in (
        lambda: interfaces.read("lo"),
        lambda: interfaces.add([HostAddress(LOOPBACK, ip_address("127.0.0.9"))]),
    ):
        with pytest.raises(TimeoutError) as caught:
            ask()
        assert caught.value.errno == errno.ETIMEDOUT


def test_invalid_answer_is_an_os_error(monkeypatch):
    whole = AsyncIPRoute.addr

    async def addr(self, command, **arguments):
        async def answers():
            async for message in await whole(self, command, **arguments):
                message["attrs"] = [("IFA_ADDRESS", "nonsense")]
                yield message

        return answers()

    monkeypatch.setattr(AsyncIPRoute, "addr", addr)
    with pytest.raises(OSError, match="is invalid") as caught:
        RtnetlinkInterfaces().read("lo")
    assert caught.value.errno == errno.EBADMSG


def test_addresses_of_other_families_are_skipped(monkeypatch):
    whole = AsyncIPRoute.addr

    async def addr(self, command, **arguments):
        async def answers():
            async for message in await whole(self, command, **arguments):
                yield message
            message["family"], message["attrs"] = 35, [("IFA_LOCAL", "6c")]  # AF_PHONET
            yield message

        return answers()

    monkeypatch.setattr(AsyncIPRoute, "addr", addr)
    _, present = RtnetlinkInterfaces().read("lo")
    assert PresentAddress(LOOPBACK, ip_address("127.0.0.1"), 8) in present


def test_interrupted_dump_is_repeated(monkeypatch):
    whole, lists = AsyncIPRoute.addr, []

    async def addr(self, command, **arguments):
        lists.append(command)
        found = [message async for message in await whole(self, command, **arguments)]

        async def answers():
            for message in found[len(found) // 2 :] if len(lists) == 1 else found:
                message["header"]["flags"] |= 0x10 if len(lists) == 1 else 0
                yield message

        return answers()

    monkeypatch.setattr(AsyncIPRoute, "addr", addr)
    _, present = RtnetlinkInterfaces().read("lo")
    assert len(lists) == 2
    assert PresentAddress(LOOPBACK, ip_address("127.0.0.1"), 8) in present


def test_all_interfaces_and_addresses_are_read():
    interfaces, present = RtnetlinkInterfaces().read_all()
    assert {interface.name for interface in interfaces} == {name for _, name in socket.if_nameindex()}
    assert PresentAddress(LOOPBACK, ip_address("127.0.0.1"), 8) in present
    assert RtnetlinkInterfaces().read("lo")[0] in interfaces


def test_name_of_an_interface_that_is_not_utf8_keeps_its_bytes(monkeypatch):
    whole = AsyncIPRoute.link

    async def link(self, command, **arguments):
        async def answers():
            async for message in await whole(self, command, **arguments):
                message["attrs"] = [("IFLA_IFNAME", b"\xff")]
                message["flags"] = 0x8
                yield message

        return answers()

    monkeypatch.setattr(AsyncIPRoute, "link", link)
    interfaces, _ = RtnetlinkInterfaces().read_all()
    assert {os.fsencode(interface.name) for interface in interfaces} == {b"\xff"}


def test_refused_dump_is_one_os_error(monkeypatch):
    async def link(self, command, **arguments):
        raise NetlinkError(errno.EACCES)

    monkeypatch.setattr(AsyncIPRoute, "link", link)
    with pytest.raises(PermissionError, match="the interfaces cannot be read: Permission denied"):
        RtnetlinkInterfaces().read_all()
