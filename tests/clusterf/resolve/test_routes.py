from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.config.model import Route
from clusterf.lib.addresses import Family
from clusterf.resolve.prefixes import AddressRange
from clusterf.resolve.routes import RouteTable
from tests.clusterf.support.reference_model import route_of
from tests.clusterf.support.strategies import ROUTES, routes


def route(prefix=None, method="masq"):
    network = ip_network(prefix) if prefix else None
    key = "prefix4" if isinstance(network, IPv4Network) else "prefix6"
    return Route(method=method, **({key: network} if network else {}))


def table(**prefixes):
    made = RouteTable()
    for name, prefix in prefixes.items():
        made.put(name.encode(), route(prefix))
    return made


EVERYWHERE = {
    Family.IPV4: AddressRange(Family.IPV4, 0, 2**32 - 1),
    Family.IPV6: AddressRange(Family.IPV6, 0, 2**128 - 1),
}


@pytest.mark.parametrize(
    ("prefixes", "address", "prefix"),
    [
        ({}, "10.0.0.1", "none"),
        ({"a": "10.0.0.0/8"}, "11.0.0.0", "none"),
        ({"a": "10.0.0.0/8"}, "10.255.255.255", "10.0.0.0/8"),
        ({"a": "10.0.0.0/8", "b": "10.0.0.0/16"}, "10.0.255.255", "10.0.0.0/16"),
        ({"b": "10.0.0.0/8", "a": "10.0.0.0/16"}, "10.1.0.0", "10.0.0.0/8"),
        ({"a": None, "b": "10.0.0.1/32"}, "10.0.0.1", "10.0.0.1/32"),
        ({"a": None}, "10.0.0.1", None),
        ({"a": None}, "fd00::1", None),
        ({"a": "0.0.0.0/0"}, "fd00::1", "none"),
        ({"a": "::/0"}, "10.0.0.1", "none"),
        ({"a": "::/0"}, "::ffff:10.0.0.1", "::/0"),
        ({"a": "fd00::/8", "b": "fd00::/127"}, "fd00::1", "fd00::/127"),
    ],
)
def test_longest_prefix_of_the_family_wins(prefixes, address, prefix):
    expected = None if prefix == "none" else route(prefix)
    assert table(**prefixes).lookup(ip_address(address)) == expected


def test_lowest_name_wins_among_equal_prefixes_in_any_order():
    made = RouteTable()
    for name, method in ((b"m", "droute"), (b"z", "masq"), (b"a", "tunnel")):
        made.put(name, route("10.0.0.0/8", method))
    address = IPv4Address("10.0.0.1")
    for name, method in ((b"a", "tunnel"), (b"m", "droute"), (b"z", "masq")):
        assert made.lookup(address) == route("10.0.0.0/8", method)
        assert made.beaten_by(name) is None
        made.put(name, None)
    assert made.lookup(address) is None


def test_default_route_equals_the_zero_prefixes_of_both_families():
    made = table(a="0.0.0.0/0", b=None, c="::/0")
    assert [made.beaten_by(name) for name in (b"a", b"b", b"c")] == [None, b"a", b"b"]
    assert made.sharing(b"b") == {b"a", b"b", b"c"}
    assert made.sharing(b"a") == {b"a", b"b"}
    assert made.sharing(b"unknown") == set()
    assert made.beaten_by(b"unknown") is None


@pytest.mark.parametrize(
    ("before", "name", "after", "ranges"),
    [
        ({}, "a", "10.0.0.0/31", {AddressRange(Family.IPV4, 0x0A000000, 0x0A000001)}),
        ({}, "a", None, set(EVERYWHERE.values())),
        ({"a": "10.0.0.0/8"}, "a", "10.0.0.0/8", set()),
        ({"a": "10.0.0.0/8"}, "b", "10.0.0.0/8", set()),
        ({"a": "::/0"}, "b", None, {EVERYWHERE[Family.IPV4]}),
        (
            {"a": "10.0.0.0/32"},
            "a",
            "::1/128",
            {AddressRange(Family.IPV4, 0x0A000000, 0x0A000000), AddressRange(Family.IPV6, 1, 1)},
        ),
    ],
)
def test_put_returns_the_addresses_whose_route_changes(before, name, after, ranges):
    assert set(table(**before).put(name.encode(), route(after))) == ranges


def test_removal_of_an_unknown_route_changes_no_address():
    assert RouteTable().put(b"a", None) == []


ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 2**128 - 1).map(IPv6Address),
    st.sampled_from([ip_address(a) for a in ("10.0.0.1", "10.0.0.2", "10.1.0.1", "fd00::1", "fd00::2", "fd00:1::1")]),
)
NETWORKS = st.one_of(
    st.builds(lambda n, length: IPv4Network((n, length), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda n, bits: IPv6Network((n, bits), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)),
)
ANY_ROUTES = routes | st.builds(
    lambda net: Route(method="masq", **{"prefix4" if net.version == 4 else "prefix6": net}), NETWORKS
)


@given(st.lists(st.tuples(ROUTES, st.none() | ANY_ROUTES), max_size=12), st.lists(ADDRESSES, max_size=6), st.data())
def test_lookup_equals_a_scan_of_all_routes_and_changes_only_in_the_returned_ranges(changes, addresses, data):
    made, plain = RouteTable(), {}
    nets = [r.prefix for _, r in changes if r is not None and r.prefix is not None]
    addresses = addresses + [net[data.draw(st.integers(0, min(net.num_addresses - 1, 2**62)))] for net in nets]
    for name, value in changes:
        before = {address: made.lookup(address) for address in addresses}
        ranges = made.put(name, value)
        plain.pop(name, None)
        plain.update({} if value is None else {name: value})
        for address in addresses:
            found = made.lookup(address)
            assert found == route_of(plain, address)
            if found != before[address]:
                assert any(f is Family.of(address) and a <= int(address) <= b for f, a, b in ranges)
