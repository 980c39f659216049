import errno
from ipaddress import ip_address

import msgspec
import pytest

from clusterf.host.interfaces import HostAddress
from clusterf.lib.store import Store
from clusterf.reconcile.record import Record
from tests.clusterf.support.fake_interfaces import ETH, LO
from tests.clusterf.support.vip_keeping import A, B, C, lines, raise_timeout, virtuals


def test_addresses_are_added_and_removed_with_their_virtual_servers(keeping, caplog):
    keeper = keeping.start()
    keeper.keep()
    keeper.follow(virtuals(A, C))
    assert keeping.interfaces.on(ETH) == {A, C}
    assert keeping.recorded == {(2, "10.1.1.1"), (2, "fd00::1")}
    keeper.follow(virtuals(A, ours=False))
    assert keeping.interfaces.on(ETH) == {C}
    assert keeping.recorded == {(2, "fd00::1")}
    assert lines(caplog) == [
        "ipvs: ip address add 10.1.1.1/32 dev eth0",
        "ipvs: ip address add fd00::1/128 dev eth0 nodad preferred_lft 0",
        "ipvs: ip address del 10.1.1.1/32 dev eth0",
    ]


def test_nothing_is_done_before_the_first_keep(keeping):
    keeper = keeping.start("eth0", A)
    keeper.follow(virtuals(B))
    assert (keeping.interfaces.asked, keeping.interfaces.reads) == ([], 0)
    keeper.keep()
    assert keeping.interfaces.on(ETH) == {A, B}


def test_restart_changes_nothing(keeping, caplog):
    keeping.start("eth0", A, B).keep()
    asked = list(keeping.interfaces.asked)
    caplog.clear()
    keeper = keeping.start("eth0", A, B)
    keeper.keep()
    keeper.follow(virtuals(A, B))
    assert keeping.interfaces.asked == asked
    assert lines(caplog) == []


def test_missing_interface_gets_its_addresses_once_it_exists(keeping):
    del keeping.interfaces.links["eth0"]
    keeper = keeping.start("eth0", A)
    for _ in range(2):
        with pytest.raises(OSError, match="interface eth0 does not exist"):
            keeper.keep()
    keeper.follow(virtuals(B))
    assert keeping.interfaces.asked == []
    keeping.interfaces.links["eth0"] = ETH
    keeper.keep()
    assert keeping.interfaces.on(ETH) == {A, B}


@pytest.mark.parametrize("name", [None, "lo"])
def test_node_without_the_interface_removes_recorded_addresses(keeping, name, caplog):
    keeping.start("eth0", A).keep()
    keeping.interfaces.put(ETH, B)
    caplog.clear()
    keeping.start(name, A, B).keep()
    assert keeping.interfaces.on(ETH) == {B}
    assert keeping.interfaces.on(LO) == (set() if name is None else {A})
    assert lines(caplog)[-1] == "ipvs: ip address del 10.1.1.1/32 dev eth0"
    assert keeping.start(None).idle == (name is None)


def test_excluded_address_is_left_alone_until_it_is_included_again(keeping):
    keeping.start("eth0", A, B).keep()
    keeping.start("eth0", excluded={A}).keep()
    assert keeping.interfaces.on(ETH) == {A}
    keeping.start("eth0").keep()
    assert keeping.interfaces.on(ETH) == set()


def test_node_without_interface_and_record_reads_nothing(keeping):
    keeper = keeping.start(None, A)
    keeper.keep()
    assert keeper.idle
    assert keeping.interfaces.reads == 0


def test_refused_address_is_retried_by_the_next_keep_and_others_are_added(keeping, caplog):
    keeping.interfaces.refused[A] = errno.EACCES
    keeper = keeping.start("eth0", A, B)
    with pytest.raises(OSError, match="1 addresses could not be added or removed"):
        keeper.keep()
    assert keeping.interfaces.on(ETH) == {B}
    assert keeping.recorded == {(2, "10.1.1.2")}
    assert "ipvs: failed: ip address add 10.1.1.1/32 dev eth0: Permission denied" in caplog.text
    asked = len(keeping.interfaces.asked)
    keeper.follow({})
    assert len(keeping.interfaces.asked) == asked
    keeping.interfaces.refused.clear()
    keeper.keep()
    assert keeping.interfaces.on(ETH) == {A, B}


def test_address_that_cannot_be_removed_stays_recorded(keeping):
    keeper = keeping.start("eth0", A)
    keeper.keep()
    keeping.interfaces.refused[A] = errno.EIO
    with pytest.raises(OSError, match="1 addresses could not be added or removed"):
        keeper.follow(virtuals(A, ours=False))
    assert keeping.recorded == {(2, "10.1.1.1")}
    keeping.interfaces.refused.clear()
    keeper.keep()
    assert keeping.interfaces.on(ETH) == set()
    assert keeping.recorded == set()


@pytest.mark.parametrize("added", [False, True])
def test_result_of_a_failed_exchange_is_read_by_the_next_keep(keeping, added):
    keeper = keeping.start("eth0")
    keeper.keep()
    add = keeping.interfaces.add

    def break_off(addresses):
        keeping.interfaces.add = add
        if added:
            keeping.interfaces.put(ETH, *(placed.address for placed in addresses))
        raise_timeout(addresses)

    keeping.interfaces.add = break_off
    with pytest.raises(TimeoutError):
        keeper.follow(virtuals(A))
    assert keeping.recorded == {(2, "10.1.1.1")}
    keeper.follow(virtuals(B))
    assert keeping.interfaces.asked == []
    keeper.keep()
    assert keeping.interfaces.on(ETH) == {A, B}
    keeper.follow({})
    assert keeping.announced == [("eth0", {A, B})]
    keeper.follow(virtuals(A, B, ours=False))
    assert keeping.interfaces.on(ETH) == set()


def test_address_is_recorded_before_it_is_added(keeping):
    keeper = keeping.start("eth0")
    keeper.keep()
    recorded = []
    add = keeping.interfaces.add

    def record_first(addresses):
        recorded.append(keeping.recorded)
        return add(addresses)

    keeping.interfaces.add = record_first
    keeper.follow(virtuals(A))
    assert recorded == [{(2, "10.1.1.1")}]


def test_noop_logs_each_operation_once_and_changes_nothing(keeping, caplog):
    keeping.interfaces.put(ETH, B)
    keeper = keeping.start("eth0", A, B, noop=True)
    keeper.keep()
    keeper.follow(virtuals(C))
    keeper.keep()
    keeper.follow(virtuals(C, ours=False))
    keeper.keep()
    assert lines(caplog) == [
        "ipvs noop: ip address add 10.1.1.1/32 dev eth0",
        "ipvs noop: ip address add fd00::1/128 dev eth0 nodad preferred_lft 0",
        "ipvs noop: ip address del fd00::1/128 dev eth0",
    ]
    assert (keeping.interfaces.asked, keeping.recorded) == ([], set())


def test_interface_name_is_quoted_for_the_shell(keeping, caplog):
    keeping.interfaces.links["a;b"] = msgspec.structs.replace(ETH, index=9, name="a;b")
    keeping.start("a;b", A).keep()
    assert lines(caplog) == ["ipvs: ip address add 10.1.1.1/32 dev 'a;b'"]


def test_invalid_record_is_reported_and_ignored(keeping, caplog):
    strange = [b"", b"{}", b"[1]", b'[1,"x"]', b'["eth0","10.1.1.1"]', b"\xff"]
    Record(Store(keeping.path), "addresses").update(dict.fromkeys(strange, b""))
    assert keeping.start(None).idle
    assert len(caplog.records) == len(strange)


def test_address_that_another_version_of_python_recorded_is_removed_with_its_record(keeping):
    mapped = ip_address("::ffff:10.1.1.1")
    for text in ("::ffff:a01:101", "::ffff:10.1.1.1"):
        Record(Store(keeping.path), "addresses").update({f'[2,"{text}"]'.encode(): b""})
    keeping.interfaces.put(ETH, mapped)
    keeping.start(None).keep()
    assert keeping.interfaces.on(ETH) == set()
    assert keeping.recorded == set()


def test_address_stays_ours_across_restarts(keeping):
    keeping.start("eth0", A).keep()
    keeping.start("eth0", A).keep()
    keeping.start("eth0").keep()
    assert keeping.interfaces.on(ETH) == set()
    assert keeping.interfaces.asked[-1] == ("remove", HostAddress(2, A))
