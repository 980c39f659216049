from ipaddress import IPv4Address, IPv4Network

import pytest

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, Route, RouteKey
from clusterf.director.merger import Origin, RealServerWanted, VirtualServerWanted
from clusterf.director.unproven import Proving
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, Tunnel, TunnelType
from tests.clusterf.support.pipeline import Pipeline

VIP = IPv4Address("198.51.100.1")
WEB = Frontend(ipv4=VIP, tcp=80)
GATEWAY = Route(prefix4=IPv4Network("10.0.0.0/8"), gateway4=IPv4Address("10.9.0.1"), method="tunnel")
REAL = RealServer(IPv4Address("10.9.0.1"), 80)


def backend(number, **fields):
    return Backend(ipv4=IPv4Address("10.0.0.0") + number, tcp=8080, **fields)


def behind_gateway(*backends):
    named = {BackendKey(b"web", b"%d" % n): value for n, value in enumerate(backends)}
    return {FrontendKey(b"web"): WEB, RouteKey(b"r"): GATEWAY} | named


def test_backends_behind_one_gateway_are_one_real_server_with_the_port_of_the_frontend():
    pipeline = Pipeline.of(behind_gateway(backend(1, weight=1), backend(2, weight=2), backend(3, weight=0)))
    assert pipeline.lines[1:] == ["-a -t 198.51.100.1:80 -r 10.9.0.1:80 -i -w 3"]
    pipeline.put(BackendKey(b"web", b"1"), None)
    assert pipeline.lines[1:] == ["-a -t 198.51.100.1:80 -r 10.9.0.1:80 -i -w 1"]
    pipeline.put(BackendKey(b"web", b"0"), None)
    assert pipeline.lines[1:] == ["-a -t 198.51.100.1:80 -r 10.9.0.1:80 -i -w 0"]
    pipeline.put(BackendKey(b"web", b"2"), None)
    assert pipeline.lines[1:] == []


def test_lowest_backend_name_decides_the_method_of_a_real_server():
    configuration = {
        FrontendKey(b"web"): WEB,
        RouteKey(b"r"): GATEWAY,
        RouteKey(b"s"): Route(prefix4=IPv4Network("11.0.0.0/8"), gateway4=IPv4Address("10.9.0.1"), method="masq"),
        BackendKey(b"web", b"b"): backend(1),
        BackendKey(b"web", b"c"): Backend(ipv4=IPv4Address("11.0.0.1"), tcp=8080),
        BackendKey(b"web", b"d"): backend(2),
    }
    pipeline = Pipeline.of(configuration)
    assert pipeline.lines[1:] == ["-a -t 198.51.100.1:80 -r 10.9.0.1:80 -i -w 30"]
    assert {p.path for p in pipeline.outstanding} == {b"services/web/backends/c"}
    pipeline.put(BackendKey(b"web", b"a"), Backend(ipv4=IPv4Address("11.0.0.2"), tcp=8080))
    assert pipeline.lines[1:] == ["-a -t 198.51.100.1:80 -r 10.9.0.1:80 -m -w 40"]
    assert {p.path for p in pipeline.outstanding} == {b"services/web/backends/b", b"services/web/backends/d"}
    pipeline.put(FrontendKey(b"web"), None)
    assert pipeline.outstanding == set()


def test_lowest_backend_name_decides_the_tunnel_of_a_real_server():
    gateway = IPv4Address("10.9.0.1")
    gre = Route(prefix4=IPv4Network("11.0.0.0/8"), gateway4=gateway, method="tunnel", tunnel=Tunnel(TunnelType.GRE))
    pipeline = Pipeline.of(behind_gateway(backend(1)) | {RouteKey(b"s"): gre})
    pipeline.put(BackendKey(b"web", b"1"), Backend(ipv4=IPv4Address("11.0.0.1"), tcp=8080))
    assert pipeline.lines[1:] == ["-a -t 198.51.100.1:80 -r 10.9.0.1:80 -i -w 20"]
    assert [str(p) for p in pipeline.outstanding] == [
        "configuration: services/web/backends/1: tunnel ignored: 10.9.0.1:80 has that of backend 0"
    ]
    pipeline.put(BackendKey(b"web", b"0"), backend(1, weight=0))
    pipeline.put(BackendKey(b"web", b"-"), Backend(ipv4=IPv4Address("11.0.0.2"), tcp=8080))
    assert pipeline.lines[1:] == ["-a -t 198.51.100.1:80 -r 10.9.0.1:80 -i -w 20 --tun-type gre --tun-nocsum"]
    assert {p.path for p in pipeline.outstanding} == {b"services/web/backends/0"}


def test_lowest_service_name_owns_a_virtual_server_that_several_claim():
    pipeline = Pipeline.of(
        {
            FrontendKey(b"b"): Frontend(ipv4=VIP, tcp=80, scheduler="rr"),
            BackendKey(b"b", b"1"): backend(1),
            BackendKey(b"c", b"1"): backend(2),
        }
    )
    pipeline.put(FrontendKey(b"c"), Frontend(ipv4=VIP, tcp=80, udp=80))
    owned_by_b = [
        "-A -t 198.51.100.1:80 -s rr",
        "-A -u 198.51.100.1:80 -s wlc",
        "-a -t 198.51.100.1:80 -r 10.0.0.1:8080 -m -w 10",
    ]
    assert pipeline.lines == owned_by_b
    assert [str(p) for p in pipeline.outstanding] == [
        "configuration: services/c/frontend: 198.51.100.1:80/tcp belongs to service b"
    ]
    pipeline.put(BackendKey(b"a", b"1"), backend(3))
    pipeline.put(FrontendKey(b"a"), WEB)
    assert pipeline.lines == [
        "-A -t 198.51.100.1:80 -s wlc",
        "-A -u 198.51.100.1:80 -s wlc",
        "-a -t 198.51.100.1:80 -r 10.0.0.3:8080 -m -w 10",
    ]
    assert {p.path for p in pipeline.outstanding} == {b"services/b/frontend", b"services/c/frontend"}
    pipeline.put(FrontendKey(b"a"), None)
    assert pipeline.lines == owned_by_b


def test_another_service_takes_over_when_the_owner_is_deleted():
    pipeline = Pipeline.of(
        {
            FrontendKey(b"a"): WEB,
            FrontendKey(b"b"): Frontend(ipv4=VIP, tcp=80, scheduler="rr"),
            BackendKey(b"a", b"1"): backend(1),
            BackendKey(b"a", b"2"): backend(2),
            BackendKey(b"b", b"1"): backend(2, weight=3),
        }
    )
    pipeline.put(FrontendKey(b"a"), Frontend(ipv4=VIP, tcp=81))
    assert pipeline.lines == [
        "-A -t 198.51.100.1:80 -s rr",
        "-A -t 198.51.100.1:81 -s wlc",
        "-a -t 198.51.100.1:80 -r 10.0.0.2:8080 -m -w 3",
        "-a -t 198.51.100.1:81 -r 10.0.0.1:8080 -m -w 10",
        "-a -t 198.51.100.1:81 -r 10.0.0.2:8080 -m -w 10",
    ]
    assert pipeline.outstanding == set()


@pytest.mark.parametrize(("publishers", "publisher"), [("aa", "a"), ("ab", None), ("ba", None)])
def test_real_server_that_leaves_tells_its_service_and_the_one_node_that_published_it(publishers, publisher):
    pipeline = Pipeline.of(behind_gateway(*(backend(n, publisher=name) for n, name in enumerate(publishers, 1))))
    for name in (b"0", b"1"):
        pipeline.resolver.update(BackendKey(b"web", name), None)
    (virtual,) = pipeline.table.virtuals
    assert pipeline.flush()[1] == [RealServerWanted(virtual, REAL, None, Origin(b"web", publisher))]


def test_virtual_server_that_leaves_tells_its_service():
    pipeline = Pipeline.of({FrontendKey(b"web"): WEB})
    (virtual,) = pipeline.table.virtuals
    assert pipeline.put(FrontendKey(b"web"), None)[1] == [VirtualServerWanted(virtual, None, Origin(b"web"))]


def test_backends_of_a_service_that_owns_no_virtual_server_change_nothing():
    pipeline = Pipeline.of({FrontendKey(b"a"): WEB, FrontendKey(b"b"): WEB})
    _, wanted = pipeline.put(BackendKey(b"b", b"1"), backend(1))
    assert wanted == []


def test_without_rotation_no_backend_has_anything_to_prove():
    pipeline = Pipeline.of(behind_gateway(backend(1)))
    (virtual,) = pipeline.table.virtuals
    assert pipeline.merger.proving(virtual, 0.0) == Proving(0, None)
    assert pipeline.merger.due is None
    pipeline.merger.begin(lambda _virtual, _real: RealServerSettings(Method.MASQ, 0))
    assert pipeline.flush() == ([], [])


@pytest.mark.parametrize("elide", [False, True])
def test_virtual_server_without_real_servers_exists_unless_elided(elide):
    pipeline = Pipeline.of({FrontendKey(b"web"): WEB}, elide=elide)
    key, (virtual,) = BackendKey(b"web", b"1"), Pipeline.of({FrontendKey(b"web"): WEB}).table.virtuals
    assert list(pipeline.table.virtuals) == ([] if elide else [virtual])
    _, wanted = pipeline.put(key, backend(1, weight=0))
    assert [type(item) for item in wanted] == ([VirtualServerWanted] if elide else []) + [RealServerWanted]
    assert pipeline.table.reals[virtual]
    pipeline.put(key, None)
    assert list(pipeline.table.virtuals) == ([] if elide else [virtual])


def test_virtual_server_comes_before_its_real_servers():
    _, wanted = Pipeline().flush()
    assert wanted == []
    pipeline = Pipeline()
    pipeline.resolver.update(BackendKey(b"web", b"1"), backend(1))
    pipeline.resolver.update(FrontendKey(b"web"), WEB)
    _, wanted = pipeline.flush()
    assert [type(item) for item in wanted] == [VirtualServerWanted, RealServerWanted]


def test_changed_backend_of_many_at_a_gateway_costs_one_real_server():
    pipeline = Pipeline.of(behind_gateway(*(backend(n, weight=1) for n in range(500))))
    _, wanted = pipeline.put(BackendKey(b"web", b"7"), backend(7, weight=5))
    assert [(item.real, item.settings.weight) for item in wanted] == [(REAL, 504)]
