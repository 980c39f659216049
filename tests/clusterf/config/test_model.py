from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import msgspec
import pytest

from clusterf.config.model import Backend, BackendCheck, Frontend, HealthCheck, Route
from clusterf.lib.addresses import Family, Protocol

FOUR, SIX = IPv4Address("10.0.0.1"), IPv6Address("fd00::1")


@pytest.mark.parametrize("kind", [Frontend, Backend])
def test_addresses_and_ports_are_found_by_family_and_protocol(kind):
    value = kind(ipv4=FOUR, ipv6=SIX, tcp=1, udp=2, sctp=3)
    assert value.addresses == (FOUR, SIX)
    assert [value.address(family) for family in Family] == [FOUR, SIX]
    assert [value.port(protocol) for protocol in Protocol] == [1, 2, 3]
    assert kind().addresses == ()
    assert kind(ipv6=SIX).addresses == (SIX,)
    assert kind(ipv6=SIX).address(Family.IPV4) is None
    assert kind(tcp=1).port(Protocol.UDP) is None


@pytest.mark.parametrize(
    ("frontend", "families"),
    [
        (Frontend(ipv4=FOUR, tcp=80), [Family.IPV4]),
        (Frontend(ipv4=FOUR, ipv6=SIX, sctp=80), [Family.IPV4, Family.IPV6]),
        (Frontend(ipv4=FOUR), []),
        (Frontend(tcp=80), []),
        (Frontend(fwmark=1), [Family.IPV4]),
        (Frontend(fwmark=1, ipv6=SIX), [Family.IPV6]),
        (Frontend(fwmark=1, ipv4=FOUR, ipv6=SIX), [Family.IPV4, Family.IPV6]),
    ],
)
def test_families_of_a_frontend_are_those_of_its_virtual_servers(frontend, families):
    assert list(frontend.families) == families


def test_prefix_and_gateway_of_a_route_are_of_either_family():
    assert Route().prefix is None
    assert Route().gateway is None
    assert Route(prefix4=IPv4Network("10.0.0.0/8")).prefix == IPv4Network("10.0.0.0/8")
    assert Route(prefix6=IPv6Network("fd00::/8"), gateway6=SIX).gateway == SIX


def test_backends_share_the_name_of_their_publisher():
    one, other = (Backend(tcp=80, publisher=name.decode()) for name in (b"docker1", b"docker1"))
    assert one.publisher is other.publisher
    sent = msgspec.msgpack.encode(one)
    assert msgspec.msgpack.decode(sent, type=Backend).publisher is one.publisher
    assert msgspec.structs.replace(one, weight=0).publisher is one.publisher


def test_backends_share_equal_checks():
    one, other = (Backend(tcp=80, health=BackendCheck(HealthCheck(path="/x"), "label")) for _ in range(2))
    assert one.health is other.health
    sent = msgspec.msgpack.encode(one)
    assert msgspec.msgpack.decode(sent, type=Backend).health is one.health
