from ipaddress import ip_address, ip_network

import pytest

from clusterf.config.model import Backend, Frontend, Route
from clusterf.config.model import RouteKey as R
from clusterf.ipvs.table import Method, Tunnel, TunnelType
from clusterf.resolve.virtual_servers import Defaults
from tests.clusterf.support.one_service import IN4, IN6, ONE, VIP4, VIP6, WEB, B, F, table_and_problems
from tests.clusterf.support.pipeline import Pipeline


def route(prefix=None, method=None, gateway=None):
    fields = {}
    for word, value in (("prefix", prefix and ip_network(prefix)), ("gateway", gateway and ip_address(gateway))):
        fields |= {f"{word}{value.version}": value} if value else {}
    return Route(method=method, **fields)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("end", ["both", "other family", "other protocol", "no address", "no port"])
def test_backend_is_a_member_if_it_has_an_address_of_the_family_and_a_port_of_the_protocol(family, protocol, end):
    vip, inside = (VIP4, IN4) if family == "ipv4" else (VIP6, IN6)
    frontend = Frontend(**{family: vip, protocol: 80})
    other_family = {"ipv6": IN6} if family == "ipv4" else {"ipv4": IN4}
    other_protocol = {"udp" if protocol == "tcp" else "tcp": 8080}
    backend = {
        "both": {family: inside, protocol: 8080},
        "other family": {**other_family, protocol: 8080},
        "other protocol": {family: inside, **other_protocol},
        "no address": {protocol: 8080},
        "no port": {family: inside},
    }[end]
    table = Pipeline.of({F: frontend, B: Backend(**backend)}).table
    (virtual,) = table.virtuals
    assert (virtual.family.name, virtual.protocol.name) == (family.upper(), protocol.upper())
    assert [(r.address, r.port) for r in table.reals[virtual]] == ([(inside, 8080)] if end == "both" else [])


HAS_PORT_80 = ["services/web/backends/1: port 8080 replaced by 80"]


@pytest.mark.parametrize(
    ("table", "real"),
    [
        ([], "10.0.0.1:8080 -m"),
        ([route(method="masq")], "10.0.0.1:8080 -m"),
        ([route(method="droute")], "10.0.0.1:80 -g"),
        ([route("10.0.0.0/8", "tunnel")], "10.0.0.1:80 -i"),
        ([route("11.0.0.0/8", "tunnel")], "10.0.0.1:8080 -m"),
        ([route("10.0.0.0/8", "tunnel"), route("10.0.0.0/24", "masq")], "10.0.0.1:8080 -m"),
        ([route("10.0.0.0/24", "masq"), route("10.0.0.0/8", "tunnel")], "10.0.0.1:8080 -m"),
        ([route(), route("10.0.0.0/24", "masq")], "10.0.0.1:8080 -m"),
        ([route("10.0.0.0/24"), route(method="masq")], None),
        ([route()], None),
        ([route(gateway="10.9.0.1")], None),
        ([route(method="masq", gateway="10.9.0.1")], "10.9.0.1:80 -m"),
        ([route(method="droute", gateway="10.9.0.1")], "10.9.0.1:80 -g"),
        ([route(method="tunnel", gateway="10.9.0.1")], "10.9.0.1:80 -i"),
    ],
)
def test_route_decides_the_real_server(table, real):
    head = "-A -t 198.51.100.1:80 -s wlc"
    found, problems = table_and_problems(WEB, ONE, *table)
    assert found == [head, *([f"-a -t 198.51.100.1:80 -r {real} -w 10"] if real else [])]
    changes_port = real is not None and real.startswith("10.0.0.1:80 ")
    assert [p.rpartition(": ")[0] for p in problems] == ([f"configuration: {HAS_PORT_80[0]}"] if changes_port else [])


def test_real_server_has_the_tunnel_of_its_route():
    gue = Tunnel(TunnelType.GUE, 6080)
    wrapped = Route(prefix4=ip_network("10.0.0.0/8"), method="tunnel", tunnel=gue)
    pipeline = Pipeline.of({F: WEB, B: ONE, R(b"r"): wrapped})
    assert pipeline.lines[1].endswith("-i -w 10 --tun-type gue --tun-port 6080 --tun-nocsum")
    pipeline.put(R(b"r"), route("10.0.0.0/8", "tunnel"))
    assert pipeline.lines[1].endswith("-i -w 10")


@pytest.mark.parametrize("method", ["droute", "tunnel"])
def test_replaced_port_is_reported_with_the_method_that_cannot_change_it(method):
    reason = f"port 8080 replaced by 80: {method} cannot change the port"
    assert table_and_problems(WEB, ONE, route(method=method))[1] == [
        f"configuration: services/web/backends/1: {reason}"
    ]


@pytest.mark.parametrize("method", ["droute", "tunnel"])
def test_backend_with_the_port_of_the_frontend_is_not_reported(method):
    assert table_and_problems(WEB, Backend(ipv4=IN4, tcp=80), route(method=method))[1] == []


@pytest.mark.parametrize(("method", "fits"), [("masq", False), ("droute", False), ("tunnel", True)])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_gateway_of_the_other_family_works_with_tunnel_only(method, fits, family):
    vip, inside, gateway = (VIP4, IN4, "fd09::1") if family == "ipv4" else (VIP6, IN6, "10.9.0.1")
    frontend, backend = Frontend(**{family: vip}, tcp=80, udp=80), Backend(**{family: inside}, tcp=8080, udp=8080)
    pipeline = Pipeline.of({F: frontend, B: backend, R(b"r"): route(method=method, gateway=gateway)})
    reals = [(r.address, r.port) for v in pipeline.table.virtuals for r in pipeline.table.reals[v]]
    assert reals == ([(ip_address(gateway), 80)] * 2 if fits else [])
    # once, though it concerns two virtual servers
    assert [p.path for problems in pipeline.problems.values() for p in problems] == (
        [] if fits else [b"services/web/backends/1"]
    )


def test_gateway_of_the_other_family_is_reported_but_kept_where_connections_are_synchronised():
    six = route(method="tunnel", gateway="fd09::1")
    lines, problems = table_and_problems(WEB, ONE, six, defaults=Defaults(synced=True))
    assert lines[1] == "-a -t 198.51.100.1:80 -r [fd09::1]:80 -i -w 10"
    reason = "gateway fd09::1 is of the other address family, which --ipvs-sync rules out"
    assert problems == [f"configuration: services/web/backends/1: {reason}"]
    assert (
        table_and_problems(WEB, ONE, route(method="tunnel", gateway="10.9.0.1"), defaults=Defaults(synced=True))[1]
        == []
    )


def test_backend_without_a_route_has_the_default_method_of_the_node():
    assert table_and_problems(WEB, Backend(ipv4=IN4, tcp=80), defaults=Defaults(method=Method.DROUTE))[0][1].endswith(
        "-g -w 10"
    )


@pytest.mark.parametrize(
    ("ports", "method", "real", "reported"),
    [
        ({}, "masq", "10.0.0.1:0 -m", False),
        ({"tcp": 80}, "masq", "10.0.0.1:8080 -m", False),
        ({"udp": 80}, "masq", "10.0.0.1:8053 -m", False),
        ({}, "droute", "10.0.0.1:0 -g", False),
        ({"tcp": 8080}, "droute", "10.0.0.1:0 -g", False),
        ({"tcp": 80}, "droute", "10.0.0.1:0 -g", True),
        ({"sctp": 80}, "masq", None, False),
    ],
)
def test_port_behind_a_fwmark_is_that_of_the_first_protocol_of_the_frontend(ports, method, real, reported):
    backend = Backend(ipv4=IN4, tcp=8080, udp=8053)
    found, problems = table_and_problems(Frontend(fwmark=7, **ports), backend, route(method=method))
    assert found == ["-A -f 7 -s wlc", *([f"-a -f 7 -r {real} -w 10"] if real else [])]
    assert bool(problems) == reported
