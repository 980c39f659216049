"""Which addresses the keeper of VIPs announces, and when."""

import errno

import msgspec
import pytest

from tests.clusterf.support.fake_interfaces import ETH, LO
from tests.clusterf.support.vip_keeping import A, B, C, raise_timeout, virtuals


def test_address_is_announced_once_its_virtual_server_exists(keeping):
    keeper = keeping.start("eth0", A)
    keeper.keep()
    assert keeping.announced == []
    keeper.follow(virtuals(B))
    assert keeping.announced == [("eth0", {A})]
    keeper.follow({})
    keeper.follow({})
    keeper.keep()
    keeper.follow({})
    assert keeping.announced == [("eth0", {A}), ("eth0", {B})]


def test_removed_address_is_not_announced(keeping):
    keeper = keeping.start()
    keeper.keep()
    keeping.mute = PermissionError(errno.EPERM, "Operation not permitted")
    keeper.follow(virtuals(A, B))
    keeper.follow(virtuals(A, ours=False))
    keeping.mute = None
    keeper.keep()
    keeper.follow({})
    assert keeping.announced == [("eth0", {B})]


def test_address_removed_while_its_interface_was_down_is_not_announced(keeping):
    keeping.interfaces.links["eth0"] = msgspec.structs.replace(ETH, running=False)
    keeper = keeping.start("eth0", C)
    with pytest.raises(OSError, match="is down"):
        keeper.keep()
    keeping.interfaces.remove = raise_timeout
    with pytest.raises(TimeoutError):
        keeper.follow(virtuals(C, ours=False))
    keeping.interfaces.take(ETH, C)
    keeping.interfaces.links["eth0"] = ETH
    keeper.keep()
    keeper.follow({})
    assert keeping.announced == []


def test_failed_announcement_is_retried_by_the_next_keep(keeping, caplog):
    keeper = keeping.start("eth0", A)
    keeping.mute = PermissionError(errno.EPERM, "Operation not permitted")
    keeper.keep()
    keeper.follow({})
    keeper.follow({})
    assert caplog.text.count("1 addresses on eth0 not announced") == 1
    keeping.mute = None
    keeper.follow({})
    assert keeping.announced == []
    keeper.keep()
    keeper.follow({})
    assert keeping.announced == [("eth0", {A})]


def test_nothing_is_announced_on_an_interface_without_neighbours(keeping):
    keeper = keeping.start("lo", A)
    keeper.keep()
    keeper.follow({})
    assert keeping.interfaces.on(LO) == {A}
    assert keeping.announced == []


def test_addresses_on_a_down_interface_are_announced_once_it_is_up(keeping):
    keeping.interfaces.links["eth0"] = msgspec.structs.replace(ETH, running=False)
    keeper = keeping.start("eth0", A)
    with pytest.raises(OSError, match="interface eth0 is down"):
        keeper.keep()
    keeper.follow(virtuals(B))
    assert keeping.interfaces.on(ETH) == {A, B}
    assert keeping.announced == []
    keeping.interfaces.links["eth0"] = ETH
    keeper.keep()
    keeper.follow({})
    assert keeping.announced == [("eth0", {A, B})]
