from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.config.model import Route, RouteKey
from clusterf.docker.containers import network_of
from clusterf.docker.routes import Routing, route_of_node, routes_of
from tests.clusterf.support.fake_engine import network

GATEWAY4, GATEWAY6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
FRONT = Routing(networks=frozenset(["front"]))
ALL = Routing(frozenset(["front"]), GATEWAY4, GATEWAY6, "tunnel")


def advertised(routing, *subnets, name="front"):
    return dict(routes_of(network_of(network(name, *subnets)), routing))


@pytest.mark.parametrize(
    ("subnets", "names"),
    [
        ([], []),
        (["10.1.0.0/16"], ["id-of-front"]),
        (["fd00::/64"], ["id-of-front"]),
        (["10.1.0.0/16", "fd00::/64"], ["id-of-front", "id-of-front-ipv6"]),
        (["10.1.0.0/16", "10.2.0.0/16"], ["id-of-front", "id-of-front-2"]),
        (
            ["fd01::/64", "10.2.0.0/16", "fd00::/64", "10.1.0.0/16"],
            ["id-of-front", "id-of-front-2", "id-of-front-ipv6", "id-of-front-ipv6-2"],
        ),
    ],
)
def test_route_of_each_subnet_is_named_after_its_network(subnets, names):
    assert list(advertised(FRONT, *subnets)) == [f"routes/{name}".encode() for name in names]


def test_network_that_is_not_selected_has_no_route():
    assert advertised(FRONT, "10.1.0.0/16", name="back") == {}
    assert advertised(Routing(), "10.1.0.0/16") == {}


def test_route_has_the_gateway_and_method_of_the_node():
    assert advertised(ALL, "10.1.0.0/16", "fd00::/64") == {
        b"routes/id-of-front": b'{"Prefix":"10.1.0.0/16","Gateway":"192.0.2.1","IPVSMethod":"tunnel"}',
        b"routes/id-of-front-ipv6": b'{"Prefix":"fd00::/64","Gateway":"2001:db8::1","IPVSMethod":"tunnel"}',
    }
    assert advertised(FRONT, "10.1.0.0/16") == {b"routes/id-of-front": b'{"Prefix":"10.1.0.0/16"}'}


@pytest.mark.parametrize("routing", [FRONT, ALL])
def test_advertised_routes_are_valid_configuration(routing):
    for path, raw in advertised(routing, "10.1.0.0/16", "fd00::/64").items():
        decoded = decode("etcd", path, parse_key(path), raw)
        assert decoded.problems == ()
        assert isinstance(decoded.value, Route)
        assert decoded.value.prefix
        assert decoded.value.method == routing.method


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("host-1", "host-1"),
        ("docker.example.net", "docker.example.net"),
        ("10-0-0-5", "%310-0-0-5"),
        ("ipv6", "%69pv6"),
        ("ip", "ip"),
        ("a b%", "a%20b%25"),
        ("h\N{LATIN SMALL LETTER O WITH DIAERESIS}st", "h%C3%B6st"),
    ],
)
def test_route_of_a_network_that_another_node_advertises_is_named_after_the_node_too(node, name):
    assert route_of_node(b"routes/id", node) == f"routes/id-{name}".encode()
    assert route_of_node(b"routes/id-ipv6-2", node) == f"routes/id-ipv6-2-{name}".encode()


@given(st.sets(st.text(st.characters(categories=["L", "N", "P"], exclude_characters="/"), min_size=1, max_size=200)))
def test_routes_of_nodes_have_names_of_their_own_and_are_valid_keys(nodes):
    routes = [f"routes/id{suffix}".encode() for suffix in ("", "-2", "-ipv6", "-ipv6-2")]
    names = [name for node in nodes for route in routes if (name := route_of_node(route, node)) is not None]
    assert len(set(names) | set(routes)) == len(routes) * (len(nodes) + 1)
    assert all(len(name) < 250 and parse_key(name) == RouteKey(name.removeprefix(b"routes/")) for name in names)


def test_only_routes_have_names_of_nodes():
    assert route_of_node(b"services/test/backends/id", "host") is None
