from ipaddress import ip_address

import pytest

from clusterf.vip.announce import advertisement, gratuitous_arp

HARDWARE = bytes.fromhex("02004c4f4f50")


def test_gratuitous_arp_requests_its_own_address():
    assert gratuitous_arp(HARDWARE, ip_address("10.1.1.1")) == bytes.fromhex(
        "0001 0800 06 04 0001  02004c4f4f50 0a010101  000000000000 0a010101"
    )


@pytest.mark.parametrize(("router", "flags"), [(False, "20000000"), (True, "a0000000")])
def test_advertisement_overrides_and_carries_the_router_flag(router, flags):
    assert advertisement(HARDWARE, ip_address("fd00::1"), router=router) == bytes.fromhex(
        f"88 00 0000 {flags}  fd000000000000000000000000000001  02 01 02004c4f4f50"
    )
