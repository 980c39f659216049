import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterf.config.decode import MAX_SIZE, decode
from clusterf.config.keys import path_of
from clusterf.config.model import (
    Backend,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthCheck,
    HealthKey,
    Persistence,
    Route,
    RouteKey,
    Tls,
)
from clusterf.config.problems import Problem
from clusterf.ipvs.table import Tunnel, TunnelChecksum, TunnelType

FRONTEND = FrontendKey(b"web")
BACKEND = BackendKey(b"web", b"1")
HEALTH = HealthKey(None)
ROUTE = RouteKey(b"test1")
KEYS = [FRONTEND, BACKEND, HEALTH, ROUTE]
CSUM, REMCSUM = TunnelChecksum.CSUM, TunnelChecksum.REMCSUM
VIP4 = IPv4Address("10.107.107.107")
VIP6 = IPv6Address("fd07::107")


def read(key, raw):
    return decode(
        "file:///etc/clusterf", path_of(key), key, raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    )


def faults(decoded):
    return [(problem.field, problem.reason) for problem in decoded.problems if problem.fatal]


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        (FRONTEND, b'{"ipv4": "10.107.107.107", "tcp": 1337}', Frontend(ipv4=VIP4, tcp=1337)),
        (BACKEND, b'{"ipv4": "10.3.107.1", "tcp": 1337}', Backend(ipv4=IPv4Address("10.3.107.1"), tcp=1337)),
        (ROUTE, b'{"Prefix":"10.3.107.0/24","IPVSMethod":"masq"}', Route(IPv4Network("10.3.107.0/24"), method="masq")),
    ],
)
def test_configurations_of_2016_load_unchanged(key, raw, value):
    decoded = read(key, raw)
    assert decoded.value == value
    assert decoded.problems == ()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"ipv4": "10.107.107.107", "ipv6": "", "udp": 53}, Frontend(ipv4=VIP4, udp=53)),
        ({"ipv6": "fd07::107", "ipv4": None, "sctp": 9}, Frontend(ipv6=VIP6, sctp=9)),
        ({"ipv6": "fe80::1"}, Frontend(ipv6=IPv6Address("fe80::1"))),
        ({"fwmark": 0xFFFFFFFF, "one_packet": True}, Frontend(fwmark=0xFFFFFFFF, one_packet=True)),
        ({"tcp": 53, "udp": 53, "one_packet": True}, Frontend(tcp=53, udp=53, one_packet=True)),
        ({"scheduler": ""}, Frontend()),
        (
            {"scheduler": "sh", "scheduler_flags": ["sh-port", "flag-1"]},
            Frontend(scheduler="sh", scheduler_flags=("sh-port", "flag-1")),
        ),
        ({"scheduler_flags": ["mh-port"]}, Frontend(scheduler_flags=("mh-port",))),
        ({"drain_timeout": 0}, Frontend(drain_timeout=0.0)),
        ({"drain_timeout": 1.5}, Frontend(drain_timeout=1.5)),
        ({"persistence": {}}, Frontend(persistence=Persistence())),
        ({"persistence": None}, Frontend()),
        ({"persistence": {"timeout": 60, "netmask": ""}}, Frontend(persistence=Persistence(60))),
        ({"persistence": {"netmask": "255.255.255.0"}}, Frontend(persistence=Persistence(netmask4=0xFFFFFF00))),
        ({"persistence": {"netmask": "255.255.255.255"}}, Frontend(persistence=Persistence())),
        ({"persistence": {"netmask": "128.0.0.0"}}, Frontend(persistence=Persistence(netmask4=0x80000000))),
        (
            {"ipv4": str(VIP4), "persistence": {"netmask": 24}},
            Frontend(ipv4=VIP4, persistence=Persistence(netmask4=0xFFFFFF00)),
        ),
        ({"ipv4": str(VIP4), "persistence": {"netmask": 32}}, Frontend(ipv4=VIP4, persistence=Persistence())),
        (
            {"ipv6": str(VIP6), "persistence": {"netmask": 64}},
            Frontend(ipv6=VIP6, persistence=Persistence(netmask6=64)),
        ),
        (
            {"ipv4": str(VIP4), "ipv6": str(VIP6), "persistence": {"netmask": 24}},
            Frontend(ipv4=VIP4, ipv6=VIP6, persistence=Persistence(netmask6=24)),
        ),
        (
            {"fwmark": 1, "persistence": {"netmask": 8}},
            Frontend(fwmark=1, persistence=Persistence(netmask4=0xFF000000)),
        ),
    ],
)
def test_a_good_frontend_is_read(raw, value):
    decoded = read(FRONTEND, raw)
    assert decoded.value == value
    assert decoded.problems == ()


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        ({"tcp": 65536}, "tcp", "Expected `int` <= 65535"),
        ({"tcp": 0}, "tcp", "Expected `int` >= 1"),
        ({"tcp": "80"}, "tcp", "Expected `int`, got `str`"),
        ({"tcp": True}, "tcp", "Expected `int`, got `bool`"),
        ({"udp": 1.5}, "udp", "Expected `int`, got `float`"),
        ({"fwmark": 0}, "fwmark", ">= 1"),
        ({"fwmark": 2**32}, "fwmark", "<= 4294967295"),
        ({"ipv4": "10.107.107"}, "ipv4", "not an IPv4 address: 10.107.107"),
        ({"ipv4": "10.107.107.010"}, "ipv4", "not an IPv4 address"),
        ({"ipv4": "10.107.107.107/32"}, "ipv4", "not an IPv4 address"),
        ({"ipv4": "1.2.3.4\x00"}, "ipv4", "not an IPv4 address"),
        ({"ipv4": "fd07::107"}, "ipv4", "not an IPv4 address"),
        ({"ipv4": 7}, "ipv4", "Expected `str`, got `int`"),
        ({"ipv4": "0.0.0.0"}, "ipv4", "unspecified"),
        ({"ipv4": "224.0.0.1"}, "ipv4", "multicast"),
        ({"ipv4": "255.255.255.255"}, "ipv4", "broadcast"),
        ({"ipv6": "10.107.107.107"}, "ipv6", "not an IPv6 address"),
        ({"ipv6": "fe80::1%eth0"}, "ipv6", "zone"),
        ({"ipv6": "::"}, "ipv6", "unspecified"),
        ({"ipv6": "ff02::1"}, "ipv6", "multicast"),
        ({"scheduler": "nosuch"}, "scheduler", "unknown scheduler: nosuch"),
        ({"scheduler": "WLC"}, "scheduler", "unknown scheduler"),
        ({"scheduler_flags": "sh-port"}, "scheduler_flags", "Expected `array`"),
        ({"scheduler_flags": [1]}, "scheduler_flags", "Expected `str`, got `int`"),
        ({"scheduler_flags": ["flag-4"]}, "scheduler_flags", "unknown scheduler flag: flag-4"),
        ({"scheduler": "mh", "scheduler_flags": ["sh-port"]}, "scheduler_flags", "sh-port is no flag of mh"),
        ({"scheduler": "wlc", "scheduler_flags": ["mh-port"]}, "scheduler_flags", "mh-port is no flag of wlc"),
        ({"one_packet": 1, "udp": 1}, "one_packet", "Expected `bool`, got `int`"),
        ({"one_packet": True, "tcp": 53}, "one_packet", "needs udp or fwmark"),
        ({"drain_timeout": -1}, "drain_timeout", ">= 0"),
        ({"drain_timeout": True}, "drain_timeout", "got `bool`"),
        ({"persistence": True}, "persistence", "Expected `object`, got `bool`"),
        ({"persistence": 300}, "persistence", "Expected `object`, got `int`"),
        ({"persistence": {"timeout": 0}}, "persistence.timeout", ">= 1"),
        ({"persistence": {"netmask": "255.0.255.0"}}, "persistence.netmask", "holes"),
        ({"persistence": {"netmask": "0.0.0.0"}}, "persistence.netmask", "not a netmask"),
        ({"persistence": {"netmask": "0.0.0.255"}}, "persistence.netmask", "holes"),
        ({"persistence": {"netmask": "24"}}, "persistence.netmask", "not an IPv4 address"),
        ({"persistence": {"netmask": 0}}, "persistence.netmask", ">= 1"),
        ({"persistence": {"netmask": True}}, "persistence.netmask", "got `bool`"),
        ({"ipv6": "fd07::107", "persistence": {"netmask": 129}}, "persistence.netmask", "<= 128"),
        ({"ipv4": "10.107.107.107", "persistence": {"netmask": 33}}, "persistence.netmask", "at most 32, not 33"),
    ],
)
def test_a_bad_field_makes_a_frontend_bad(raw, field, reason):
    assert_one_fault(read(FRONTEND, raw), field, reason)


def assert_one_fault(decoded, field, reason):
    assert decoded.value is None
    [(bad, why)] = faults(decoded)
    assert bad == field
    assert reason in why


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({}, Backend()),
        ({"weight": 0}, Backend(weight=0)),
        ({"weight": 65535, "ipv6": "::1"}, Backend(weight=65535, ipv6=IPv6Address("::1"))),
        ({"ipv4": "127.0.0.1"}, Backend(ipv4=IPv4Address("127.0.0.1"))),
        ({"upper_threshold": 5, "lower_threshold": 5}, Backend(upper_threshold=5, lower_threshold=5)),
        ({"upper_threshold": 2**31 - 1}, Backend(upper_threshold=2**31 - 1)),
    ],
)
def test_a_good_backend_is_read(raw, value):
    assert read(BACKEND, raw).value == value


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        ({"weight": -1}, "weight", ">= 0"),
        ({"weight": 65536}, "weight", "<= 65535"),
        ({"ipv4": "0.0.0.0"}, "ipv4", "unspecified"),
        ({"ipv4": "239.1.1.1"}, "ipv4", "multicast"),
        ({"ipv4": "255.255.255.255"}, "ipv4", "broadcast"),
        ({"ipv4": "127.255.255.255"}, "ipv4", "broadcast"),
        ({"ipv6": "fe80::1"}, "ipv6", "link-local"),
        ({"ipv6": "::ffff:10.3.107.1"}, "ipv6", "IPv4-mapped"),
        ({"ipv6": "fd00::1%eth0"}, "ipv6", "zone"),
        ({"upper_threshold": 5, "lower_threshold": 10}, "lower_threshold", "greater than upper_threshold"),
        ({"lower_threshold": 1}, "lower_threshold", "greater than upper_threshold"),
        ({"upper_threshold": 2**31}, "upper_threshold", "<= 2147483647"),
        ({"lower_threshold": 1, "upper_threshold": "x"}, "upper_threshold", "Expected `int`"),
    ],
)
def test_a_bad_field_makes_a_backend_bad(raw, field, reason):
    assert_one_fault(read(BACKEND, raw), field, reason)


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
def test_a_good_route_is_read(raw, value):
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
def test_a_bad_field_makes_a_route_bad(raw, field, reason):
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
def test_a_tunnel_is_of_a_type_with_what_that_type_has(raw, field, reason):
    assert_one_fault(read(ROUTE, {"IPVSMethod": "tunnel", "tunnel": raw}), f"tunnel.{field}", reason)


def test_what_a_tunnel_does_not_know_is_reported_and_ignored():
    decoded = read(ROUTE, {"IPVSMethod": "tunnel", "tunnel": {"type": "gre", "ttl": 64}})
    assert decoded.value == Route(method="tunnel", tunnel=Tunnel(TunnelType.GRE))
    assert [(problem.field, problem.fatal) for problem in decoded.problems] == [("tunnel.ttl", False)]


def test_the_example_in_the_reference_is_all_defaults_but_type_and_path():
    raw = b"""
    {"type": "http", "path": "/healthz", "port": 0, "method": "GET", "host": "", "status": "200-399",
     "headers": {}, "body": "", "tls": {"verify": true, "server_name": "", "ca": ""},
     "interval": 5, "timeout": 2, "rise": 2, "fall": 3, "fast_interval": 1, "jitter": 0.1,
     "initial": "down", "panic_threshold": 0, "on_down": "drain"}
    """
    decoded = read(HEALTH, raw)
    assert decoded.value == HealthCheck(type="http", path="/healthz")
    assert decoded.problems == ()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"type": "none"}, HealthCheck(type="none")),
        ({"method": ""}, HealthCheck()),
        ({"method": "HEAD", "path": "/a?b=c#d"}, HealthCheck(method="HEAD", path="/a?b=c#d")),
        ({"method": "options"}, HealthCheck(method="OPTIONS")),
        ({"status": "200"}, HealthCheck(status=((200, 200),))),
        ({"status": "200-399, 404"}, HealthCheck(status=((200, 399), (404, 404)))),
        ({"headers": {"X-Token": "a b"}}, HealthCheck(headers=(("X-Token", "a b"),))),
        ({"headers": {"A": "1", "a": "2"}}, HealthCheck(headers=(("A", "1"), ("a", "2")))),
        ({"headers": {"Host": "a", "X": "\u00fc\t"}}, HealthCheck(headers=(("Host", "a"), ("X", "\u00fc\t")))),
        ({"body": "\u00fc" * 32768}, HealthCheck(body="\u00fc" * 32768)),
        ({"expect": "", "expect_regex": ""}, HealthCheck()),
        ({"expect": "a" * 1024, "redirects": 10}, HealthCheck(expect="a" * 1024, redirects=10)),
        ({"expect_regex": r"(?i)\bok\b|ü+"}, HealthCheck(expect_regex=r"(?i)\bok\b|ü+")),
        ({"source": ""}, HealthCheck()),
        ({"source": []}, HealthCheck()),
        ({"source": "10.0.0.9"}, HealthCheck(source4=IPv4Address("10.0.0.9"))),
        ({"source": ["fd00::9"]}, HealthCheck(source6=IPv6Address("fd00::9"))),
        (
            {"source": ["fd00::9", "10.0.0.9"]},
            HealthCheck(source4=IPv4Address("10.0.0.9"), source6=IPv6Address("fd00::9")),
        ),
        (
            {"tls": {"server_name": "a_b.xn--bcher-kva.example"}},
            HealthCheck(tls=Tls(server_name="a_b.xn--bcher-kva.example")),
        ),
        ({"tls": {"server_name": "fd00::9"}}, HealthCheck(tls=Tls(server_name="fd00::9"))),
        (
            {"tls": {"verify": False, "server_name": "a.example"}},
            HealthCheck(tls=Tls(verify=False, server_name="a.example")),
        ),
        ({"interval": 0.5, "timeout": 0.5}, HealthCheck(interval=0.5, timeout=0.5)),
        ({"interval": 1}, HealthCheck(interval=1.0, timeout=1.0)),
        ({"interval": 60}, HealthCheck(interval=60.0, timeout=2.0)),
        ({"jitter": 0, "panic_threshold": 33.3}, HealthCheck(jitter=0.0, panic_threshold=33.3)),
        ({"initial": "up", "on_down": "remove"}, HealthCheck(initial="up", on_down="remove")),
        ({"body": "line\r\n"}, HealthCheck(body="line\r\n")),
    ],
)
def test_a_good_health_check_is_read(raw, value):
    decoded = read(HEALTH, raw)
    assert decoded.value == value
    assert not [problem for problem in decoded.problems if problem.fatal]


def test_fields_of_http_in_a_check_without_a_type_are_reported():
    decoded = read(HEALTH, {"path": "/healthz", "status": "200", "interval": 3})
    assert decoded.value == HealthCheck(path="/healthz", status=((200, 200),), interval=3.0)
    reason = "has no effect without a type of http or https"
    assert [(problem.field, problem.reason, problem.fatal) for problem in decoded.problems] == [
        ("path", reason, False),
        ("status", reason, False),
    ]
    for check in ({"type": "http", "path": "/healthz"}, {"type": "tcp", "path": "/"}, {"interval": 3}):
        assert read(HEALTH, check).problems == ()


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        ({"type": "udp"}, "type", "Invalid enum value 'udp'"),
        ({"path": ""}, "path", "starts with /"),
        ({"path": "healthz"}, "path", "starts with /"),
        ({"path": "/a b"}, "path", "spaces"),
        ({"path": "/a\r\nHost: b"}, "path", "spaces"),
        ({"path": "/a\n"}, "path", "spaces"),
        ({"method": "GE T"}, "method", "not an HTTP method"),
        ({"method": "GET\n"}, "method", "not an HTTP method"),
        ({"host": "a\x00b"}, "host", "control characters"),
        ({"host": "a b"}, "host", "spaces"),
        ({"port": 65536}, "port", "<= 65535"),
        ({"port": False}, "port", "got `bool`"),
        ({"status": ""}, "status", "not a list of HTTP status codes"),
        ({"status": "399-200"}, "status", "399-200"),
        ({"status": "99"}, "status", "99"),
        ({"status": "200-600"}, "status", "200-600"),
        ({"status": "200,,404"}, "status", "not a list"),
        ({"status": "\uff12\uff10\uff10"}, "status", "not a list"),
        ({"status": 200}, "status", "Expected `str`"),
        ({"headers": ["a"]}, "headers", "Expected `object`"),
        ({"headers": {"a": 1}}, "headers", "Expected `str`, got `int`"),
        ({"headers": {"a:": "b"}}, "headers", "not a header name: a:"),
        ({"headers": {"": "b"}}, "headers", "not a header name"),
        ({"headers": {"a": "b\r\nc: d"}}, "headers", "a control character in the header a"),
        ({"headers": {"a": "b\x00"}}, "headers", "a control character"),
        ({"headers": {"a": "b\x1b"}}, "headers", "a control character"),
        ({"headers": {"Content-length": "1"}}, "headers", "Content-length is not to be set"),
        ({"headers": {"CONNECTION": "keep-alive"}}, "headers", "CONNECTION is not to be set"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers", "Transfer-Encoding is not to be set"),
        ({"headers": {"Expect": "100-continue"}}, "headers", "Expect is not to be set"),
        ({"headers": {"a": "b" * 16384}}, "headers", "16385 bytes are too many"),
        ({"path": "/" + "a" * 4096}, "path", "4097 characters are too many"),
        ({"method": "connect"}, "method", "a tunnel"),
        ({"method": "G" * 33}, "method", "33 characters are too many"),
        ({"host": "b\u00fccher.example"}, "host", "not a name of ASCII"),
        ({"host": "a" * 256}, "host", "256 characters are too many"),
        ({"body": "\u00fc" * 32769}, "body", "65538 bytes are too many"),
        ({"status": "200," * 251}, "status", "1004 characters are too many"),
        ({"expect": "a" * 1025}, "expect", "1025 characters are too many"),
        ({"expect": 1}, "expect", "Expected `str`"),
        ({"expect": "a", "method": "head"}, "expect", "HEAD"),
        ({"expect_regex": "a(b"}, "expect_regex", "missing ): a(b"),
        ({"expect_regex": r"(a)\1"}, "expect_regex", "invalid escape sequence"),
        ({"expect_regex": "a{1000}"}, "expect_regex", "too complex"),
        ({"expect_regex": "a" * 1025}, "expect_regex", "1025 characters are too many"),
        ({"expect_regex": "a", "method": "HEAD"}, "expect_regex", "HEAD"),
        ({"redirects": -1}, "redirects", ">= 0"),
        ({"redirects": 11}, "redirects", "<= 10"),
        ({"source": 1}, "source", "got `int`"),
        ({"source": [1]}, "source", "got `int`"),
        ({"source": "::ffff:10.0.0.1"}, "source", "IPv4-mapped"),
        ({"source": "0.0.0.0"}, "source", "unspecified"),
        ({"source": "eth0"}, "source", "not an IPv4 address: eth0"),
        ({"source": ["10.0.0.1", "fd00::1", "10.0.0.2"]}, "source", "more than one address of a family: 10.0.0.2"),
        ({"tls": True}, "tls", "Expected `object`, got `bool`"),
        ({"tls": {"verify": "no"}}, "tls.verify", "Expected `bool`"),
        ({"tls": {"server_name": "a b"}}, "tls.server_name", "not the name of a host, nor an address: a b"),
        ({"tls": {"server_name": "a..b"}}, "tls.server_name", "not the name of a host"),
        ({"tls": {"server_name": "a\n"}}, "tls.server_name", "not the name of a host"),
        ({"tls": {"server_name": "a" * 64}}, "tls.server_name", "not the name of a host"),
        ({"tls": {"server_name": "fe80::1%eth0"}}, "tls.server_name", "not the name of a host"),
        ({"tls": {"server_name": "a." * 127}}, "tls.server_name", "254 characters are too many"),
        ({"tls": {"ca": "/etc/\x00"}}, "tls.ca", "not an absolute file name"),
        ({"tls": {"ca": "ca.pem"}}, "tls.ca", "not an absolute file name"),
        ({"tls": {"ca": "/" * 4097}}, "tls.ca", "4097 characters are too many"),
        ({"interval": 0}, "interval", "> 0"),
        ({"interval": True}, "interval", "got `bool`"),
        ({"interval": "5"}, "interval", "got `str`"),
        ({"timeout": 5.5}, "timeout", "5.5 s is longer than the interval, 5 s"),
        ({"interval": 1, "timeout": 2}, "timeout", "2 s is longer than the interval, 1 s"),
        ({"rise": 0}, "rise", ">= 1"),
        ({"jitter": 1.1}, "jitter", "<= 1"),
        ({"panic_threshold": 101}, "panic_threshold", "<= 100"),
        ({"on_down": "kill"}, "on_down", "Invalid enum value"),
    ],
)
def test_a_bad_field_makes_a_health_check_bad(raw, field, reason):
    assert_one_fault(read(HEALTH, raw), field, reason)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("raw", [b"", b" \r\n\t", b"{}"])
def test_an_empty_value_is_an_object_with_no_fields(key, raw):
    decoded = read(key, raw)
    assert decoded.value in (Frontend(), Backend(), HealthCheck(), Route())
    assert decoded.problems == ()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b"3", "Expected `object`, got `int`"),
        (b"{", "truncated"),
        (b"{'tcp': 1}", "byte 1"),
        (b'{"tcp": 1} x', "trailing characters"),
        (b'{"a": "b", "c": "d\xff"}', "position 18"),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b'{"a": NaN}', "byte 6"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": "\\ud800\\u0041"}', "surrogate"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b" " * (MAX_SIZE + 1), "1572865 bytes are too many"),
    ],
)
def test_what_is_no_json_object_is_bad_as_a_whole(raw, reason):
    assert_one_fault(read(FRONTEND, raw), "", reason)


def test_a_value_of_the_greatest_size_is_read():
    assert read(FRONTEND, b" " * (MAX_SIZE - 10) + b'{"tcp": 1}').value == Frontend(tcp=1)


def test_every_bad_field_is_reported():
    decoded = read(FRONTEND, {"tcp": 0, "ipv4": "x", "udp": 1, "persistence": {"timeout": 0, "netmask": "x"}})
    assert decoded.value is None
    assert [field for field, _ in faults(decoded)] == ["tcp", "ipv4", "persistence.timeout", "persistence.netmask"]


def test_a_field_is_not_judged_by_a_bad_one():
    decoded = read(FRONTEND, {"ipv6": "x", "udp": 0, "one_packet": True, "persistence": {"netmask": 64}})
    assert [field for field, _ in faults(decoded)] == ["ipv6", "udp"]


def test_unknown_fields_are_reported_and_the_rest_is_used():
    decoded = read(HEALTH, {"Ttype": "http", "Type": "https", "port": 80, "tls": {"CA": "/ca.pem", "Cert": 1}})
    assert decoded.value == HealthCheck(type="https", port=80, tls=Tls(ca="/ca.pem"))
    assert [(problem.field, problem.fatal) for problem in decoded.problems] == [("Ttype", False), ("tls.Cert", False)]


def test_a_source_is_one_field_for_both_families():
    decoded = read(HEALTH, {"source4": "10.0.0.1", "source6": "fd00::1"})
    assert decoded.value == HealthCheck()
    assert [problem.reason for problem in decoded.problems] == ["unknown field"] * 2


def test_of_fields_that_differ_by_case_the_last_one_counts_unless_it_is_null():
    assert read(FRONTEND, b'{"tcp": 1, "TCP": 2, "Tcp": 3}').value == Frontend(tcp=3)
    assert read(FRONTEND, b'{"TCP": 0, "tcp": 2, "Tcp": null}').value == Frontend(tcp=2)


GOOD = st.sampled_from(
    [
        (FRONTEND, {"ipv4": "10.107.107.107", "tcp": 80, "persistence": {"timeout": 9, "netmask": 24}}),
        (BACKEND, {"ipv6": "fd00::1", "udp": 53, "weight": 3, "upper_threshold": 2}),
        (HEALTH, {"type": "https", "tls": {"verify": False, "ca": "/ca"}, "interval": 9, "headers": {"Ab": "c"}}),
        (ROUTE, {"prefix": "10.0.0.0/8", "gateway": "10.1.1.1", "ipvsmethod": "tunnel"}),
    ]
)


@given(GOOD, st.randoms())
def test_the_case_of_field_names_does_not_matter(good, random):
    def shuffled(fields):
        return {
            "".join(random.choice([char.lower(), char.upper()]) for char in name): (
                shuffled(value) if name in ("persistence", "tls") else value
            )
            for name, value in fields.items()
        }

    key, fields = good
    assert read(key, shuffled(fields)) == read(key, fields)
    assert read(key, fields).value is not None


FIELDS_READ = [*Frontend.__struct_fields__, *Backend.__struct_fields__, *HealthCheck.__struct_fields__]
FIELD_NAMES = st.sampled_from(
    [*FIELDS_READ, "netmask", "verify", "ca", "server_name", "source", "prefix", "ipvsmethod"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["10.0.0.1", "::", "sh"]),
    lambda inner: st.lists(inner) | st.dictionaries(FIELD_NAMES | st.text(), inner),
)


@given(st.sampled_from(KEYS), st.binary() | JSON | st.dictionaries(FIELD_NAMES, JSON))
@example(HEALTH, b'{"interval": ' + b"9" * 400 + b"}")
@example(HEALTH, b'{"interval": ' + b"9" * 5000 + b"}")
@example(FRONTEND, b'{"persistence":' * 50_000)
def test_whatever_the_input_there_is_a_value_or_a_reason(key, raw):
    decoded = read(key, raw)
    assert (decoded.value is None) == bool(faults(decoded))
    assert hash(decoded) == hash(read(key, raw))
    for problem in decoded.problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 600


def test_a_problem_is_one_line():
    [problem] = read(FRONTEND, {"tcp": 65536}).problems
    assert problem == Problem(
        "file:///etc/clusterf", b"services/web/frontend", "tcp", "Expected `int` <= 65535", fatal=True
    )
    assert str(problem) == "file:///etc/clusterf: services/web/frontend: tcp: Expected `int` <= 65535"


def test_a_problem_of_the_whole_object_names_no_field():
    problem = Problem("etcd://h1:2379/clusterf", b"services/a\nb/extra", "", "unknown key", fatal=False)
    assert str(problem) == r"etcd://h1:2379/clusterf: services/a\x0ab/extra: unknown key"


def test_hostile_values_do_not_break_the_line():
    [problem] = read(FRONTEND, {"scheduler": "\x1b[2J\n" + "x" * 1_000_000}).problems
    assert r"unknown scheduler: \x1b[2J\x0axxx" in str(problem)
    assert len(problem.reason) == 200
    assert len(str(problem)) < 300
    lone = Problem("\ud800", b"", "\r", "\n" * 1000, fatal=True)
    assert str(lone).startswith(r"\xed\xa0\x80: \x0d: \x0a\x0a")
    assert len(str(lone)) < 250
