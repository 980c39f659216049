import errno
from ipaddress import ip_address

import msgspec
import pytest

from clusterf.host.interfaces import HostAddress, ShadowInterfaces
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import Family, Protocol
from clusterf.lib.store import Store
from clusterf.reconcile.record import Record
from clusterf.vip.keeper import VipKeeper
from tests.clusterf.support.fake_interfaces import ETH, LO, FakeInterfaces

A, B, C = (ip_address(text) for text in ("10.1.1.1", "10.1.1.2", "fd00::1"))


def virtuals(*addresses, ours=True):
    return {VirtualServer(Family.of(address), Protocol.TCP, address, 80): ours for address in addresses}


class Keeping:
    """A keeper on fake interfaces with a record on disk."""

    def __init__(self, path):
        self.path = path
        self.interfaces = FakeInterfaces()
        self.announced = []
        self.mute = None
        self.now = 0.0

    def announce(self, link, addresses):
        if self.mute is not None:
            raise self.mute
        self.announced.append((link.name, set(addresses)))

    def start(self, name="eth0", *needed, noop=False, excluded=()):
        """Return a keeper, as a node that starts makes it; `needed`: addresses of virtual servers on record."""
        interfaces = ShadowInterfaces(self.interfaces) if noop else self.interfaces
        store = Store(self.path, read_only=noop)
        announce = None if noop else self.announce
        record = Record(store, "addresses")
        keeper = VipKeeper(
            *(name, record, interfaces, announce), excluded=excluded.__contains__, noop=noop, clock=lambda: self.now
        )
        keeper.follow(virtuals(*needed))
        return keeper

    @property
    def recorded(self):
        return {tuple(msgspec.json.decode(key)) for key, _ in Record(Store(self.path), "addresses").items()}


def raise_timeout(_):
    raise TimeoutError(errno.ETIMEDOUT, "the kernel did not answer in time")


@pytest.fixture
def keeping(tmp_path):
    return Keeping(tmp_path / "ipvs.db")


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level("INFO")


def lines(caplog):
    return [line for record in caplog.records for line in record.getMessage().splitlines()]


def test_addresses_come_with_their_virtual_servers_and_go_with_them(keeping, caplog):
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


def test_nothing_is_done_before_the_interfaces_were_looked_at(keeping):
    keeper = keeping.start("eth0", A)
    keeper.follow(virtuals(B))
    assert (keeping.interfaces.asked, keeping.interfaces.reads) == ([], 0)
    keeper.keep()
    assert keeping.interfaces.on(ETH) == {A, B}


def test_a_restart_writes_nothing(keeping, caplog):
    keeping.start("eth0", A, B).keep()
    asked = list(keeping.interfaces.asked)
    caplog.clear()
    keeper = keeping.start("eth0", A, B)
    keeper.keep()
    keeper.follow(virtuals(A, B))
    assert keeping.interfaces.asked == asked
    assert lines(caplog) == []


def test_an_address_is_announced_once_when_its_virtual_server_is_there(keeping):
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


def test_what_has_gone_again_is_not_announced(keeping):
    keeper = keeping.start()
    keeper.keep()
    keeping.mute = PermissionError(errno.EPERM, "Operation not permitted")
    keeper.follow(virtuals(A, B))
    keeper.follow(virtuals(A, ours=False))
    keeping.mute = None
    keeper.keep()
    keeper.follow({})
    assert keeping.announced == [("eth0", {B})]


def test_what_went_with_an_interface_that_was_down_is_not_announced_when_it_is_up(keeping):
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


def test_what_could_not_be_announced_is_tried_again_with_the_next_look(keeping, caplog):
    keeper = keeping.start("eth0", A)
    keeping.mute = PermissionError(errno.EPERM, "Operation not permitted")
    keeper.keep()
    keeper.follow({})
    keeper.follow({})
    assert caplog.text.count("1 addresses on eth0 are not announced") == 1
    keeping.mute = None
    keeper.follow({})
    assert keeping.announced == []
    keeper.keep()
    keeper.follow({})
    assert keeping.announced == [("eth0", {A})]


def test_where_there_are_no_neighbours_nothing_is_announced(keeping):
    keeper = keeping.start("lo", A)
    keeper.keep()
    keeper.follow({})
    assert keeping.interfaces.on(LO) == {A}
    assert keeping.announced == []


def test_an_interface_that_is_down_is_reported_and_what_was_added_announced_when_it_is_up(keeping):
    keeping.interfaces.links["eth0"] = msgspec.structs.replace(ETH, running=False)
    keeper = keeping.start("eth0", A)
    with pytest.raises(OSError, match="the interface eth0 is down"):
        keeper.keep()
    keeper.follow(virtuals(B))
    assert keeping.interfaces.on(ETH) == {A, B}
    assert keeping.announced == []
    keeping.interfaces.links["eth0"] = ETH
    keeper.keep()
    keeper.follow({})
    assert keeping.announced == [("eth0", {A, B})]


def test_an_interface_that_does_not_exist_is_reported_and_gets_its_addresses_when_it_does(keeping):
    del keeping.interfaces.links["eth0"]
    keeper = keeping.start("eth0", A)
    for _ in range(2):
        with pytest.raises(OSError, match="there is no interface eth0"):
            keeper.keep()
    keeper.follow(virtuals(B))
    assert keeping.interfaces.asked == []
    keeping.interfaces.links["eth0"] = ETH
    keeper.keep()
    assert keeping.interfaces.on(ETH) == {A, B}


def test_an_interface_that_vanishes_takes_ours_from_the_record(keeping):
    keeper = keeping.start("eth0", A)
    keeper.keep()
    keeping.interfaces.links.clear()
    keeping.interfaces.present.clear()
    with pytest.raises(OSError, match="no interface"):
        keeper.keep()
    assert keeping.recorded == set()


def test_an_address_that_others_remove_comes_back_and_is_reported(keeping, caplog):
    keeper = keeping.start("eth0", A, B)
    keeper.keep()
    keeping.interfaces.take(ETH, A)
    keeper.keep()
    assert keeping.interfaces.on(ETH) == {A, B}
    assert keeping.recorded == {(2, "10.1.1.1"), (2, "10.1.1.2")}
    assert caplog.text.count("gone from eth0, adding again: 10.1.1.1\n") == 1


def test_what_is_lacking_only_in_one_list_is_not_gone(keeping, caplog):
    keeper = keeping.start("eth0", A)
    keeper.keep()
    look = keeping.interfaces.read
    lists = [(ETH, [])]
    keeping.interfaces.read = lambda name: lists.pop() if lists else look(name)
    keeper.keep()
    assert "gone" not in caplog.text
    assert keeping.recorded == {(2, "10.1.1.1")}


def test_what_others_have_put_there_is_left_alone_for_ever(keeping):
    keeping.interfaces.put(LO, A)
    keeping.interfaces.put(ETH, B)
    keeper = keeping.start("eth0", A, B)
    keeper.keep()
    keeper.follow(virtuals(A, B, ours=False))
    keeping.start(None).keep()
    assert keeping.interfaces.asked == []
    assert keeping.recorded == set()


def test_what_others_have_put_anywhere_since_the_last_look_is_seen_before_an_address_is_added(keeping):
    keeper = keeping.start("eth0")
    keeper.keep()
    keeping.interfaces.put(LO, A)
    keeper.follow(virtuals(A, B))
    assert keeping.interfaces.on(ETH) == {B}
    keeper.follow(virtuals(A, B, ours=False))
    assert keeping.interfaces.on(LO) == {A}


def test_many_that_are_added_one_after_the_other_take_few_looks(keeping):
    keeper = keeping.start("eth0")
    keeper.keep()
    look = keeping.interfaces.read

    def slow(name):
        keeping.now += 1.0
        return look(name)

    keeping.interfaces.read = slow
    for address in (A, B, C):
        keeper.follow(virtuals(address))
        keeping.now += 4.0
    assert keeping.interfaces.on(ETH) == {A, B, C}
    assert keeping.interfaces.reads == 2
    keeper.follow(virtuals(ip_address("10.1.1.4")))
    assert keeping.interfaces.reads == 3


def test_an_address_that_others_put_there_at_the_same_moment_is_theirs(keeping, caplog):
    keeper = keeping.start("eth0")
    look = keeping.interfaces.read

    def put_after(name):
        found = look(name)
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


@pytest.mark.parametrize("name", [None, "lo"])
def test_a_node_without_the_interface_removes_what_the_last_one_added(keeping, name, caplog):
    keeping.start("eth0", A).keep()
    keeping.interfaces.put(ETH, B)
    caplog.clear()
    keeping.start(name, A, B).keep()
    assert keeping.interfaces.on(ETH) == {B}
    assert keeping.interfaces.on(LO) == (set() if name is None else {A})
    assert lines(caplog)[-1] == "ipvs: ip address del 10.1.1.1/32 dev eth0"
    assert keeping.start(None).idle == (name is None)


def test_an_address_that_is_excluded_from_now_on_stays_and_is_ours_again_later(keeping):
    keeping.start("eth0", A, B).keep()
    keeping.start("eth0", excluded={A}).keep()
    assert keeping.interfaces.on(ETH) == {A}
    keeping.start("eth0").keep()
    assert keeping.interfaces.on(ETH) == set()


def test_an_interface_that_was_made_anew_has_nothing_of_ours(keeping):
    keeping.start("eth0", A).keep()
    keeping.interfaces.present.clear()
    keeping.interfaces.links["eth0"] = other = msgspec.structs.replace(ETH, index=7)
    keeping.interfaces.put(other, A)
    keeping.start(None).keep()
    assert keeping.interfaces.on(other) == {A}


def test_a_node_that_never_had_an_interface_looks_at_nothing(keeping):
    keeper = keeping.start(None, A)
    keeper.keep()
    assert keeper.idle
    assert keeping.interfaces.reads == 0


def test_what_is_refused_is_reported_and_tried_with_the_next_look_and_the_others_are_added(keeping, caplog):
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


def test_what_cannot_be_removed_stays_on_record_until_it_is(keeping):
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
def test_what_became_of_a_broken_exchange_is_found_out_by_the_next_look(keeping, added):
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


def test_what_is_added_is_on_record_before(keeping):
    keeper = keeping.start("eth0")
    keeper.keep()
    recorded = []
    add = keeping.interfaces.add

    def look_first(addresses):
        recorded.append(keeping.recorded)
        return add(addresses)

    keeping.interfaces.add = look_first
    keeper.follow(virtuals(A))
    assert recorded == [{(2, "10.1.1.1")}]


def test_with_noop_all_is_said_once_and_nothing_written(keeping, caplog):
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


def test_a_name_that_means_something_to_a_shell_is_quoted(keeping, caplog):
    keeping.interfaces.links["a;b"] = msgspec.structs.replace(ETH, index=9, name="a;b")
    keeping.start("a;b", A).keep()
    assert lines(caplog) == ["ipvs: ip address add 10.1.1.1/32 dev 'a;b'"]


def test_a_record_that_is_not_understood_is_reported_and_left_out(keeping, caplog):
    strange = [b"", b"{}", b"[1]", b'[1,"x"]', b'["eth0","10.1.1.1"]', b"\xff"]
    Record(Store(keeping.path), "addresses").update(dict.fromkeys(strange, b""))
    assert keeping.start(None).idle
    assert len(caplog.records) == len(strange)


def test_an_address_stays_ours_for_the_next_node(keeping):
    keeping.start("eth0", A).keep()
    keeping.start("eth0", A).keep()
    keeping.start("eth0").keep()
    assert keeping.interfaces.on(ETH) == set()
    assert keeping.interfaces.asked[-1] == ("remove", HostAddress(2, A))
