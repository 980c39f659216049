from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from clusterf.lib.addresses import (
    Family,
    check_interface,
    check_vip,
    parse_endpoint,
    parse_ip,
    parse_real_server_address,
)


def test_endpoint_is_printed_as_it_is_parsed():
    for text in ("192.0.2.1:53", "[2001:db8::1]:65535", "127.0.0.1:1"):
        assert str(parse_endpoint(text)) == text
    assert parse_endpoint("[2001:DB8:0::1]:1") == parse_endpoint("[2001:db8::1]:1")


@pytest.mark.parametrize(
    "text",
    [
        *("", "192.0.2.1", "192.0.2.1:", ":53", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:+5", "192.0.2:53"),
        *(
            "2001:db8::1:53",
            "[2001:db8::1]",
            "[2001:db8::1%eth0]:53",
            "[192.0.2.1]:x",
            "example.org:53",
            "192.0.2.1:\u0665",
        ),
        *("0.0.0.0:53", "[::]:53", "224.0.0.1:53", "[ff02::1]:53", "[fe80::1]:53", "192.0.2.1:53\n", "[192.0.2.1]:53"),
    ],
)
def test_invalid_endpoint_is_rejected(text):
    with pytest.raises(ValueError, match=r"ADDRESS:PORT|unspecified, multicast or link-local|does not appear"):
        parse_endpoint(text)


@pytest.mark.parametrize(("text", "family"), [("10.1.1.1", Family.IPV4), ("fd00::1", Family.IPV6)])
def test_address_is_parsed_with_its_family(text, family):
    assert parse_ip(text) == ip_address(text)
    assert Family.of(parse_ip(text)) is family


@pytest.mark.parametrize("text", ["", "10.1.1", "10.1.1.01", "10.1.1.1 ", "host", "10.1.1.1\0"])
def test_invalid_ipv4_address_is_rejected(text):
    with pytest.raises(ValueError, match="not an IPv4 address"):
        parse_ip(text)


@pytest.mark.parametrize("text", ["fd00::1%eth0", "fd00:::1", ":", "fd00::g"])
def test_invalid_ipv6_address_is_rejected(text):
    with pytest.raises(ValueError, match="not an IPv6 address"):
        parse_ip(text)


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"])
def test_vip_must_be_an_address_of_one_machine(text):
    with pytest.raises(ValueError, match="unspecified, multicast or broadcast"):
        check_vip(ip_address(text))


@pytest.mark.parametrize("text", ["0.0.0.0", "127.255.255.255", "fe80::1", "::ffff:10.1.1.1"])
def test_real_server_address_that_the_kernel_refuses_is_rejected(text):
    with pytest.raises(ValueError, match="address"):
        parse_real_server_address(text)


@pytest.mark.parametrize("address", [IPv4Address("10.1.1.1"), IPv4Address("127.0.0.1"), IPv6Address("fd00::1")])
def test_real_server_address_is_parsed(address):
    assert parse_real_server_address(str(address)) == address


@pytest.mark.parametrize("name", ["lo", "eth0.107", "a;b", "x" * 15, "ü"])
def test_valid_interface_name_is_accepted(name):
    check_interface(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a:1", "a b", "a\tb", "x" * 16, "ü" * 8, "a\x1b", "a\udcff"])
def test_invalid_or_unprintable_interface_name_is_rejected(name):
    with pytest.raises(ValueError, match="interface"):
        check_interface(name)
