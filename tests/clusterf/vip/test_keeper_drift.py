"""The keeper of VIPs, and changes of addresses and interfaces that were made outside clusterf."""

from ipaddress import ip_address

import msgspec
import pytest

from clusterf.host.interfaces import HostAddress
from tests.clusterf.support.fake_interfaces import ETH, LO
from tests.clusterf.support.vip_keeping import A, B, C, lines, virtuals


def test_removed_interface_clears_the_record(keeping):
    keeper = keeping.start("eth0", A)
    keeper.keep()
    keeping.interfaces.links.clear()
    keeping.interfaces.present.clear()
    with pytest.raises(OSError, match="does not exist"):
        keeper.keep()
    assert keeping.recorded == set()


def test_address_removed_outside_clusterf_is_restored_and_reported(keeping, caplog):
    keeper = keeping.start("eth0", A, B)
    keeper.keep()
    keeping.interfaces.take(ETH, A)
    keeper.keep()
    assert keeping.interfaces.on(ETH) == {A, B}
    assert keeping.recorded == {(2, "10.1.1.1"), (2, "10.1.1.2")}
    assert caplog.text.count("drift: 1 addresses removed from eth0 outside clusterf, repairing: 10.1.1.1\n") == 1


def test_address_missing_in_a_single_list_is_not_drift(keeping, caplog):
    keeper = keeping.start("eth0", A)
    keeper.keep()
    read = keeping.interfaces.read
    lists = [(ETH, [])]
    keeping.interfaces.read = lambda name: lists.pop() if lists else read(name)
    keeper.keep()
    assert "drift" not in caplog.text
    assert keeping.recorded == {(2, "10.1.1.1")}


def test_address_added_outside_clusterf_is_never_removed(keeping):
    keeping.interfaces.put(LO, A)
    keeping.interfaces.put(ETH, B)
    keeper = keeping.start("eth0", A, B)
    keeper.keep()
    keeper.follow(virtuals(A, B, ours=False))
    keeping.start(None).keep()
    assert keeping.interfaces.asked == []
    assert keeping.recorded == set()


def test_interfaces_are_read_again_before_an_address_is_added(keeping):
    keeper = keeping.start("eth0")
    keeper.keep()
    keeping.interfaces.put(LO, A)
    keeper.follow(virtuals(A, B))
    assert keeping.interfaces.on(ETH) == {B}
    keeper.follow(virtuals(A, B, ours=False))
    assert keeping.interfaces.on(LO) == {A}


def test_many_additions_read_the_interfaces_few_times(keeping):
    keeper = keeping.start("eth0")
    keeper.keep()
    read = keeping.interfaces.read

    def slow(name):
        keeping.now += 1.0
        return read(name)

    keeping.interfaces.read = slow
    for address in (A, B, C):
        keeper.follow(virtuals(address))
        keeping.now += 4.0
    assert keeping.interfaces.on(ETH) == {A, B, C}
    assert keeping.interfaces.reads == 2
    keeper.follow(virtuals(ip_address("10.1.1.4")))
    assert keeping.interfaces.reads == 3


def test_address_added_outside_clusterf_at_the_same_moment_is_not_ours(keeping, caplog):
    keeper = keeping.start("eth0")
    read = keeping.interfaces.read

    def put_after(name):
        found = read(name)
        keeping.now += 1.0  # so that it holds for a while
        keeping.interfaces.put(ETH, A)
        return found

    keeping.interfaces.read = put_after
    keeper.keep()
    keeper.follow(virtuals(A))
    assert keeping.recorded == set()
    keeper.follow(virtuals(A))
    assert keeping.interfaces.asked == [("add", HostAddress(2, A))]
    keeper.follow(virtuals(A, ours=False))
    assert keeping.interfaces.on(ETH) == {A}
    assert lines(caplog) == []


def test_recreated_interface_has_no_addresses_of_ours(keeping):
    keeping.start("eth0", A).keep()
    keeping.interfaces.present.clear()
    keeping.interfaces.links["eth0"] = other = msgspec.structs.replace(ETH, index=7)
    keeping.interfaces.put(other, A)
    keeping.start(None).keep()
    assert keeping.interfaces.on(other) == {A}
