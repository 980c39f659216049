import socket
from ipaddress import ip_address

import pytest

from clusterf.host.interfaces import HostAddress, PresentAddress, ShadowInterfaces, first_ipv4_address
from tests.clusterf.support.fake_interfaces import ETH, LO, FakeInterfaces, whole

VIP = HostAddress(ETH.index, ip_address("10.1.1.1"))
OWN = PresentAddress(ETH.index, ip_address("10.1.1.9"), 24)


@pytest.fixture
def real():
    interfaces = FakeInterfaces()
    interfaces.present.add(OWN)
    return interfaces


def test_shadow_begins_with_the_real_addresses(real):
    assert ShadowInterfaces(real).read("eth0") == (ETH, [OWN])


def test_changes_stay_in_the_shadow(real):
    shadow = ShadowInterfaces(real)
    shadow.read("eth0")
    assert shadow.add([VIP]) == [0]
    assert shadow.read("eth0") == (ETH, [OWN, whole(VIP)])
    assert shadow.remove([VIP]) == [0]
    assert shadow.read("eth0") == (ETH, [OWN])
    assert (real.asked, real.reads) == ([], 1)


def test_missing_interface_is_read_again_until_it_exists(real):
    del real.links["eth0"]
    shadow = ShadowInterfaces(real)
    assert shadow.read("eth0")[0] is None
    real.links["eth0"] = ETH
    assert shadow.read("eth0")[0] == ETH


def test_shadow_that_was_never_read_takes_changes(real):
    shadow = ShadowInterfaces(real)
    assert (shadow.add([VIP]), shadow.remove([VIP])) == ([0], [0])
    assert shadow.name_of(LO.index) == "lo"


def test_first_ipv4_address_of_loopback_is_found():
    assert first_ipv4_address("lo") == "127.0.0.1"


def test_first_ipv4_address_of_a_missing_interface_is_an_error():
    with pytest.raises(OSError):
        first_ipv4_address("nosuch0")
    assert "nosuch0" not in dict(socket.if_nameindex()).values()
