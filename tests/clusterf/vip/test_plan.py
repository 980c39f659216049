from ipaddress import ip_address

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clusterf.host.interfaces import HostAddress, PresentAddress
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import Family, Protocol
from clusterf.vip.plan import Vips

ADDRESSES = [ip_address(text) for text in ("10.1.1.1", "10.1.1.2", "fd00::1")]
A, B, C = ADDRESSES
LO, ETH = 1, 2


def virtual(address, port=80):
    return VirtualServer(Family.of(address), Protocol.TCP, address, port)


def vips(*ours, kept=True):
    return Vips(ours, kept=kept)


def test_address_is_needed_while_a_virtual_server_has_it():
    state = vips()
    state.observe(LO, [])
    state.follow({virtual(A, 80): True, virtual(A, 443): True})
    assert state.missing() == [HostAddress(LO, A)]
    state.own(HostAddress(LO, A))
    assert (state.missing(), state.superfluous()) == ([], [])
    state.follow({virtual(A, 80): False})
    assert state.superfluous() == []
    state.follow({virtual(A, 443): False})
    assert state.superfluous() == [HostAddress(LO, A)]


def test_repeated_virtual_server_changes_nothing():
    state = vips(HostAddress(LO, A))
    state.observe(LO, [PresentAddress(LO, A, 32)])
    state.follow({virtual(A): True})
    state.follow({virtual(A): True})
    state.follow({virtual(A): False})
    assert state.superfluous() == [HostAddress(LO, A)]


def test_change_concerns_only_its_own_address():
    state = vips()
    state.observe(LO, [])
    state.follow({virtual(A): True, virtual(B): True})
    assert (state.missing(), state.superfluous()) == ([HostAddress(LO, A), HostAddress(LO, B)], [])
    state.follow({virtual(C): True})
    assert state.missing() == [HostAddress(LO, C)]  # the others were not added; `observe` finds out


@pytest.mark.parametrize(
    "present",
    [PresentAddress(ETH, A, 32), PresentAddress(ETH, A, 24), PresentAddress(LO, A, 32), PresentAddress(LO, A, 8)],
)
def test_address_added_outside_clusterf_is_neither_added_nor_removed(present):
    state = vips()
    state.follow({virtual(A): True})
    state.observe(LO, [present])
    assert (state.missing(), state.superfluous()) == ([], [])
    state.follow({virtual(A): False})
    assert (state.missing(), state.superfluous()) == ([], [])


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.9", "::1"])
def test_loopback_addresses_are_not_added(text):
    state = vips()
    state.observe(LO, [])
    state.follow({virtual(ip_address(text)): True, VirtualServer(Family.IPV4, fwmark=7): True})
    assert state.missing() == []


def test_address_is_added_to_the_new_interface_before_it_is_removed_from_the_old():
    state = vips(HostAddress(LO, A))
    state.follow({virtual(A): True})
    state.observe(ETH, [PresentAddress(LO, A, 32)])
    assert state.missing() == [HostAddress(ETH, A)]
    assert state.superfluous() == []  # it could not be added
    state.observe(ETH, [PresentAddress(LO, A, 32)])
    state.own(HostAddress(ETH, A))
    assert state.superfluous() == [HostAddress(LO, A)]


def test_address_stays_on_the_old_interface_while_the_new_one_does_not_exist():
    state = vips(HostAddress(LO, A), HostAddress(LO, B))
    state.follow({virtual(A): True})
    state.observe(None, [PresentAddress(LO, A, 32), PresentAddress(LO, B, 32)])
    assert (state.missing(), state.superfluous()) == ([], [HostAddress(LO, B)])


@pytest.mark.parametrize("theirs", [PresentAddress(LO, A, 24), PresentAddress(ETH, A, 24), PresentAddress(ETH, A, 32)])
def test_address_also_added_outside_clusterf_is_removed_from_the_old_interface(theirs):
    state = vips(HostAddress(LO, A))
    state.follow({virtual(A): True})
    state.observe(LO, [PresentAddress(LO, A, 32), theirs])
    assert (state.missing(), state.superfluous()) == ([], [])
    state.observe(ETH, [PresentAddress(LO, A, 32), theirs])
    assert (state.missing(), state.superfluous()) == ([], [HostAddress(LO, A)])


def test_without_an_interface_all_addresses_of_ours_are_removed():
    state = vips(HostAddress(LO, A), kept=False)
    state.follow({virtual(A): True})
    state.observe(None, [PresentAddress(LO, A, 32), PresentAddress(LO, B, 32)])
    assert (state.missing(), state.superfluous()) == ([], [HostAddress(LO, A)])


class World(RuleBasedStateMachine):
    """Addresses of two interfaces are changed by us and outside clusterf; `world` has the owner of each."""

    def __init__(self):
        super().__init__()
        self.world = {}
        self.vips = vips()
        self.wanted = set()
        self.observed = False

    @rule(address=st.sampled_from(ADDRESSES), port=st.integers(1, 2), wanted=st.booleans())
    def want(self, address, port, wanted):
        self.wanted = self.wanted | {virtual(address, port)} if wanted else self.wanted - {virtual(address, port)}
        self.vips.follow({virtual(address, port): wanted})

    @rule(address=st.sampled_from(ADDRESSES), interface=st.sampled_from([LO, ETH]), short=st.booleans())
    def others_add(self, address, interface, short):
        present = PresentAddress(interface, address, 24 if short else address.max_prefixlen)
        # an address recorded as ours is ours, even if it was added again outside clusterf
        if short or HostAddress(interface, address) not in self.vips.ours:
            self.world.setdefault(present, "theirs")

    @rule(data=st.data())
    def others_remove(self, data):
        if self.world:
            del self.world[data.draw(st.sampled_from(sorted(self.world, key=str)))]

    @rule(interface=st.sampled_from([LO, ETH, None]))
    def observe(self, interface):
        self.vips.observe(interface, list(self.world))
        self.observed = True

    @precondition(lambda self: self.observed)
    @rule(refused=st.sets(st.sampled_from(ADDRESSES)))
    def change(self, refused):
        for placed in self.vips.missing():
            present = PresentAddress(*placed, placed.address.max_prefixlen)
            self.vips.own(placed)
            if present in self.world:
                assert self.world[present] == "theirs"
                self.vips.leave(placed)
            elif placed.address in refused:
                self.vips.disown(placed)
            else:
                self.world[present] = "ours"
        for placed in self.vips.superfluous():
            present = PresentAddress(*placed, placed.address.max_prefixlen)
            assert self.world.get(present) != "theirs"
            if placed.address not in refused:
                self.world.pop(present, None)
                self.vips.disown(placed)

    @rule(kept=st.booleans(), interface=st.sampled_from([LO, ETH]))
    def restart(self, kept, interface):
        self.vips = vips(*self.vips.ours, kept=kept)
        self.vips.follow(dict.fromkeys(self.wanted, True))
        self.observe(interface)
        self.change(set())
        theirs = {present.address for present, who in self.world.items() if who == "theirs"}
        needed = {v.address for v in self.wanted} if kept else set()
        ours = {HostAddress(interface, address) for (interface, address, _), who in self.world.items() if who == "ours"}
        assert {HostAddress(interface, address) for address in needed - theirs} <= ours
        assert {placed for placed in ours if placed.address in needed and placed.interface == interface} == ours
        if not kept:
            self.vips = vips(*self.vips.ours)
            self.vips.follow(dict.fromkeys(self.wanted, True))
            self.observed = False

    @invariant()
    def all_of_ours_are_recorded(self):
        ours = {HostAddress(interface, address) for (interface, address, _), who in self.world.items() if who == "ours"}
        assert ours <= self.vips.ours


TestWorld = World.TestCase
