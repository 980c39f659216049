from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from clusterf.config.model import (
    Route,
)
from clusterf.ipvs.table import Tunnel, TunnelChecksum, TunnelType
from tests.clusterf.support.decoding import ROUTE, assert_one_fault, read

CSUM, REMCSUM = TunnelChecksum.CSUM, TunnelChecksum.REMCSUM


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({}, Route()),
        ({"Prefix": "", "Gateway": "", "IPVSMethod": ""}, Route()),
        ({"Prefix": None, "IPVSMethod": "droute"}, Route(method="droute")),
        ({"Prefix": "10.3.107.9/24"}, Route(IPv4Network("10.3.107.0/24"))),
        ({"Prefix": "10.3.107.9"}, Route(IPv4Network("10.3.107.9/32"))),
        ({"Prefix": "0.0.0.0/0"}, Route(IPv4Network("0.0.0.0/0"))),
        ({"Prefix": "::/0"}, Route(prefix6=IPv6Network("::/0"))),
        ({"Prefix": "fd00::1:2/112"}, Route(prefix6=IPv6Network("fd00::1:0/112"))),
        ({"Prefix": "fd00::1"}, Route(prefix6=IPv6Network("fd00::1/128"))),
        ({"Gateway": "10.3.0.1", "IPVSMethod": "tunnel"}, Route(gateway4=IPv4Address("10.3.0.1"), method="tunnel")),
        ({"Gateway": "fd00::1"}, Route(gateway6=IPv6Address("fd00::1"))),
        *(
            ({"IPVSMethod": "tunnel", "Tunnel": raw}, Route(method="tunnel", tunnel=tunnel))
            for raw, tunnel in (
                (None, Tunnel()),
                ({}, Tunnel()),
                ({"type": "ipip", "checksum": "none", "port": None}, Tunnel()),
                ({"Type": "gue", "Port": 1}, Tunnel(TunnelType.GUE, 1)),
                ({"type": "gue", "port": 65535, "checksum": "csum"}, Tunnel(TunnelType.GUE, 65535, CSUM)),
                ({"type": "gue", "port": 6080, "checksum": "remcsum"}, Tunnel(TunnelType.GUE, 6080, REMCSUM)),
                ({"type": "gre"}, Tunnel(TunnelType.GRE)),
                ({"type": "gre", "checksum": "csum"}, Tunnel(TunnelType.GRE, 0, CSUM)),
            )
        ),
    ],
)
def test_valid_route_is_decoded(raw, value):
    decoded = read(ROUTE, raw)
    assert decoded.value == value
    assert decoded.problems == ()


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        ({"Prefix": "10.3.107.0/33"}, "prefix", "10.3.107.0/33"),
        ({"Prefix": "10.3.107.0/"}, "prefix", "not an address prefix"),
        ({"Prefix": "10.3.107.0/255.255.255.0"}, "prefix", "not an address prefix"),
        ({"Prefix": "10.3.107/24"}, "prefix", "not an IPv4 address"),
        ({"Prefix": "fe80::1%eth0/64"}, "prefix", "zone"),
        ({"Prefix": 10}, "prefix", "Expected `str`"),
        ({"Gateway": "0.0.0.0"}, "gateway", "unspecified"),
        ({"Gateway": "fe80::1"}, "gateway", "link-local"),
        ({"Gateway": "fe80::1%eth0"}, "gateway", "zone"),
        ({"Gateway": "gw.example"}, "gateway", "not an IPv4 address"),
        ({"IPVSMethod": "nat"}, "ipvsmethod", "Invalid enum value 'nat'"),
        ({"IPVSMethod": 1}, "ipvsmethod", "Expected `str`"),
        ({"IPVSMethod": "masq", "tunnel": {}}, "tunnel", "needs an IPVSMethod of tunnel"),
        ({"IPVSMethod": "", "tunnel": {"type": "gre"}}, "tunnel", "needs an IPVSMethod of tunnel"),
        ({"tunnel": {"type": "gre"}}, "tunnel", "needs an IPVSMethod of tunnel"),
        ({"IPVSMethod": "nat", "tunnel": {}}, "ipvsmethod", "Invalid enum value 'nat'"),
        ({"IPVSMethod": "tunnel", "tunnel": "gre"}, "tunnel", "Expected `object`, got `str`"),
    ],
)
def test_invalid_field_makes_a_route_invalid(raw, field, reason):
    assert_one_fault(read(ROUTE, raw), field, reason)


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        ({"type": "vxlan"}, "type", "not one of ipip, gue, gre: vxlan"),
        ({"type": "GUE", "port": 6080}, "type", "not one of ipip, gue, gre: GUE"),
        ({"type": ""}, "type", "not one of"),
        ({"type": 1}, "type", "Expected `str`, got `int`"),
        ({"type": "vxlan", "port": 6080, "checksum": "remcsum"}, "type", "not one of"),
        ({"type": "gue"}, "port", "gue needs the port"),
        ({"type": "gue", "port": 0}, "port", "Expected `int` >= 1"),
        ({"type": "gue", "port": 65536}, "port", "Expected `int` <= 65535"),
        ({"port": 6080}, "port", "ipip has no port"),
        ({"type": "gre", "port": 6080}, "port", "gre has no port"),
        ({"checksum": "csum"}, "checksum", "ipip has no csum"),
        ({"checksum": "remcsum"}, "checksum", "ipip has no remcsum"),
        ({"type": "gre", "checksum": "remcsum"}, "checksum", "gre has no remcsum"),
        ({"type": "gre", "checksum": "crc"}, "checksum", "not one of none, csum, remcsum: crc"),
    ],
)
def test_tunnel_has_only_fields_of_its_type(raw, field, reason):
    assert_one_fault(read(ROUTE, {"IPVSMethod": "tunnel", "tunnel": raw}), f"tunnel.{field}", reason)


def test_unknown_field_of_a_tunnel_is_reported_and_ignored():
    decoded = read(ROUTE, {"IPVSMethod": "tunnel", "tunnel": {"type": "gre", "ttl": 64}})
    assert decoded.value == Route(method="tunnel", tunnel=Tunnel(TunnelType.GRE))
    assert [(problem.field, problem.fatal) for problem in decoded.problems] == [("tunnel.ttl", False)]
