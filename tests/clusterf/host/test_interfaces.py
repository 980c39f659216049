import asyncio
import errno
import socket
from ipaddress import ip_address

import pytest
from pyroute2 import AsyncIPRoute

from clusterf.host.interfaces import HostAddress, PresentAddress, RtnetlinkInterfaces

LOOPBACK = socket.if_nametoindex("lo")


def test_the_interface_and_all_addresses_are_found():
    link, present = RtnetlinkInterfaces().look("lo")
    assert (link.index, link.name, link.up, link.hardware) == (LOOPBACK, "lo", True, b"")
    assert PresentAddress(LOOPBACK, ip_address("127.0.0.1"), 8) in present
    assert {name for _, name in socket.if_nameindex()} >= {RtnetlinkInterfaces().name_of(p.interface) for p in present}


def test_an_interface_that_does_not_exist_is_none():
    link, present = RtnetlinkInterfaces().look("nosuch0")
    assert link is None
    assert present
    assert RtnetlinkInterfaces().look(None)[0] is None
    assert RtnetlinkInterfaces().name_of(99999) == "if99999"


def test_a_kernel_that_does_not_answer_is_not_waited_for(monkeypatch):
    async def hang(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(AsyncIPRoute, "addr", hang)
    interfaces = RtnetlinkInterfaces(deadline=0.05)
    for ask in (
        lambda: interfaces.look("lo"),
        lambda: interfaces.add([HostAddress(LOOPBACK, ip_address("127.0.0.9"))]),
    ):
        with pytest.raises(TimeoutError) as caught:
            ask()
        assert caught.value.errno == errno.ETIMEDOUT


def test_an_answer_that_makes_no_sense_is_an_error_of_the_kernel(monkeypatch):
    whole = AsyncIPRoute.addr

    async def addr(self, command, **arguments):
        async def answers():
            async for message in await whole(self, command, **arguments):
                message["attrs"] = [("IFA_ADDRESS", "nonsense")]
                yield message

        return answers()

    monkeypatch.setattr(AsyncIPRoute, "addr", addr)
    with pytest.raises(OSError, match="not understood") as caught:
        RtnetlinkInterfaces().look("lo")
    assert caught.value.errno == errno.EBADMSG


def test_addresses_of_other_families_are_passed_over(monkeypatch):
    whole = AsyncIPRoute.addr

    async def addr(self, command, **arguments):
        async def answers():
            async for message in await whole(self, command, **arguments):
                yield message
            message["family"], message["attrs"] = 35, [("IFA_LOCAL", "6c")]  # AF_PHONET
            yield message

        return answers()

    monkeypatch.setattr(AsyncIPRoute, "addr", addr)
    _, present = RtnetlinkInterfaces().look("lo")
    assert PresentAddress(LOOPBACK, ip_address("127.0.0.1"), 8) in present


def test_a_list_that_changed_while_it_was_read_is_read_again(monkeypatch):
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
    _, present = RtnetlinkInterfaces().look("lo")
    assert len(lists) == 2
    assert PresentAddress(LOOPBACK, ip_address("127.0.0.1"), 8) in present
