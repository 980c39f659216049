from ipaddress import IPv4Address, IPv6Address

import pytest

from clusterf.docker.addresses import (
    Addressing,
    AddressProblem,
    AddressResult,
    ContainerAddress,
    address_at,
    find_address,
)
from clusterf.docker.containers import Published, container_of
from clusterf.lib.addresses import Protocol
from tests.clusterf.support.fake_engine import inspect

BRIDGE, FRONT, BACK = "172.17.0.2", "172.31.0.2 fd00::2", "10.9.0.2"
AT_BRIDGE = ContainerAddress("id-of-bridge", IPv4Address("172.17.0.2"))
AT_FRONT = ContainerAddress("id-of-front", IPv4Address("172.31.0.2"), IPv6Address("fd00::2"))
AT_BACK = ContainerAddress("id-of-back", IPv4Address("10.9.0.2"))
HOST = Addressing(host=True, host4=IPv4Address("192.0.2.1"))
AT_HOST = ContainerAddress(ipv4=IPv4Address("192.0.2.1"), published=(Published(Protocol.TCP, 80, "", 1),))
PORTS = {"80/tcp": [{"HostIp": "", "HostPort": "1"}]}


def found(networks, label="", addressing=Addressing(), last=None, **state):  # noqa: B008
    return find_address(container_of(inspect(networks=networks, **state)), label, addressing, last)


@pytest.mark.parametrize(
    ("networks", "label", "preferred", "address"),
    [
        ({"bridge": BRIDGE}, "", "", AT_BRIDGE),
        ({"front": FRONT}, "", "", AT_FRONT),
        ({"bridge": BRIDGE, "front": FRONT}, "", "", AT_BRIDGE),
        ({"bridge": BRIDGE, "front": FRONT}, "front", "", AT_FRONT),
        ({"bridge": BRIDGE, "front": FRONT}, "", "front", AT_FRONT),
        ({"back": BACK, "front": FRONT}, "", "front", AT_FRONT),
        ({"back": BACK, "front": FRONT}, "back", "front", AT_BACK),
        ({"bridge": BRIDGE, "back": BACK}, "", "front", AT_BRIDGE),
        ({"back": BACK}, "", "front", AT_BACK),
        ({"front": " fd00::2"}, "", "", ContainerAddress("id-of-front", None, IPv6Address("fd00::2"))),
    ],
)
def test_network_is_the_labelled_else_the_preferred_else_the_bridge_else_the_only_one(
    networks, label, preferred, address
):
    assert found(networks, label, Addressing(network=preferred)) == AddressResult(address, present=True)


@pytest.mark.parametrize(
    ("networks", "label", "reason"),
    [
        ({}, "", "not connected to any network"),
        ({}, "front", "not connected to network front"),
        ({"bridge": BRIDGE}, "front", "not connected to network front"),
        ({"bridge": BRIDGE}, "x" * 1000, f"not connected to network {'x' * 100}"),
        (
            {"back": BACK, "front": FRONT},
            "",
            "connected to several networks (back, front) and no label selects one",
        ),
        ({"bridge": ""}, "", "no address on its network"),
        ({"host": ""}, "", "no address on its network"),
        ({"bridge": "", "front": FRONT}, "", "no address on its network"),
        ({"front": " fe80::2"}, "", "link-local or IPv4-mapped address: fe80::2"),
        ({"front": "0.0.0.0"}, "", "unspecified, multicast or broadcast address: 0.0.0.0"),
    ],
)
def test_ambiguous_or_missing_address_is_reported_and_not_guessed(networks, label, reason):
    assert found(networks, label) == AddressResult(None, present=False, problems=(AddressProblem(reason),))


def test_invalid_address_of_one_family_leaves_the_other():
    assert found({"front": "10.0.0.2 fe80::2"}) == AddressResult(
        ContainerAddress("id-of-front", IPv4Address("10.0.0.2")),
        True,
        (AddressProblem("link-local or IPv4-mapped address: fe80::2"),),
    )


@pytest.mark.parametrize("networks", [{"bridge": ""}, {}, {"back": BACK, "front": FRONT}])
def test_stopped_container_keeps_its_last_address(networks):
    assert found(networks, last=AT_BRIDGE, running=False) == AddressResult(AT_BRIDGE, present=False)
    assert found(networks, running=False) == AddressResult(None, present=False)


def test_address_of_a_stopped_container_may_come_from_the_engine():
    assert found({"bridge": BRIDGE}, running=False) == AddressResult(AT_BRIDGE, present=False)
    assert found({"bridge": BRIDGE}, last=AT_FRONT, running=False) == AddressResult(AT_FRONT, present=False)


def test_ending_container_keeps_its_last_address_without_a_problem():
    assert found({"bridge": ""}, last=AT_BRIDGE) == AddressResult(AT_BRIDGE, present=False)
    assert found({"bridge": "", "front": FRONT}, last=AT_BRIDGE) == AddressResult(AT_BRIDGE, present=False)


def test_disconnected_container_keeps_its_last_address_and_is_reported():
    problems = (AddressProblem("not connected to network front"),)
    assert found({"bridge": BRIDGE}, "front", last=AT_FRONT) == AddressResult(
        AT_FRONT, present=False, problems=problems
    )
    problems = (AddressProblem("not connected to any network"),)
    assert found({}, last=AT_FRONT) == AddressResult(AT_FRONT, present=False, problems=problems)


def test_container_stays_on_its_network_when_another_is_connected():
    doubt = "connected to several networks (back, front) and no label selects one: keeping front"
    assert found({"back": BACK, "front": FRONT}, last=AT_FRONT) == AddressResult(
        AT_FRONT, True, (AddressProblem(doubt, fatal=False),)
    )
    moved = found({"back": BACK, "front": "172.31.0.9"}, last=AT_FRONT).address
    assert moved == ContainerAddress("id-of-front", IPv4Address("172.31.0.9"))


def test_host_address_has_the_published_ports():
    assert found({}, "front", HOST, ports=PORTS) == AddressResult(AT_HOST, present=True)
    assert found({}, "", HOST) == AddressResult(None, present=False, problems=(AddressProblem("no published port"),))


def test_host_address_is_kept_without_published_ports():
    assert found({}, "", HOST, AT_HOST) == AddressResult(AT_HOST, present=False)
    assert found({}, "", HOST, AT_HOST, running=False) == AddressResult(AT_HOST, present=False)
    assert found({}, "", HOST, running=False) == AddressResult(None, present=False)


def test_container_is_at_the_network_where_it_has_a_published_address():
    container = container_of(inspect(networks={"back": BACK, "front": FRONT}))
    four, *_ = FRONT.split()
    at = address_at(container, {four, "192.0.2.1"})
    assert at is not None
    assert (at.network, str(at.ipv4)) == ("id-of-front", four)
    assert address_at(container, {"192.0.2.1"}) is None
