from ipaddress import ip_address, ip_network

import msgspec
import pytest

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, Route
from clusterf.config.model import RouteKey as R
from clusterf.config.problems import ProblemsOf
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from clusterf.resolve.resolver import BackendResolved, ServiceResolved
from clusterf.resolve.virtual_servers import Defaults
from tests.clusterf.support.one_service import IN4, ONE, VIP4, VIP6, WEB, B, F, table_and_problems
from tests.clusterf.support.pipeline import Pipeline


def route(prefix=None, method=None, gateway=None):
    fields = {}
    for word, value in (("prefix", prefix and ip_network(prefix)), ("gateway", gateway and ip_address(gateway))):
        fields |= {f"{word}{value.version}": value} if value else {}
    return Route(method=method, **fields)


def test_routes_with_equal_prefixes_are_reported_but_for_the_lowest_name():
    pipeline = Pipeline.of({F: WEB, B: ONE, R(b"b"): route("10.0.0.0/8", "tunnel")})
    pipeline.put(R(b"a"), route("10.0.0.0/8", "masq"))
    pipeline.put(R(b"c"), route("10.0.0.0/8", "droute"))
    assert {p.path: p.reason for p in pipeline.outstanding} == {
        b"routes/b": "ignored: routes/a has the same prefix and a lower name",
        b"routes/c": "ignored: routes/a has the same prefix and a lower name",
    }
    pipeline.put(R(b"a"), None)
    assert {p.path for p in pipeline.outstanding} == {b"routes/c", b"services/web/backends/1"}
    assert pipeline.lines[1] == "-a -t 198.51.100.1:80 -r 10.0.0.1:80 -i -w 10"


def test_excluded_address_has_no_virtual_server_and_is_reported_once():
    defaults = Defaults(exclude=(ip_network("198.51.100.0/24"), ip_network("10.0.0.0/8")))
    found, problems = table_and_problems(Frontend(ipv4=VIP4, ipv6=VIP6, tcp=80, udp=80), ONE, defaults=defaults)
    assert found == ["-A -t [fd00:ff::1]:80 -s wlc", "-A -u [fd00:ff::1]:80 -s wlc"]
    assert len(problems) == 1
    assert problems[0].startswith("configuration: services/web/frontend: address 198.51.100.1 is in a range")
    assert table_and_problems(Frontend(ipv4=VIP4, fwmark=1), ONE, defaults=defaults)[1] == []


def test_equal_value_and_deletion_of_an_unknown_key_change_nothing():
    pipeline = Pipeline.of({F: WEB, B: ONE, R(b"r"): route("10.0.0.0/8", "droute")})
    for key, value in ((F, WEB), (B, ONE), (R(b"r"), route("10.0.0.0/8", "droute"))):
        assert pipeline.put(key, value) == ([], [])
    for key in (FrontendKey(b"x"), BackendKey(b"web", b"x"), BackendKey(b"x", b"x"), R(b"x")):
        assert pipeline.put(key, None) == ([], [])


def many(count):
    """Return a configuration of one service with `count` backends, a tenth of them under 10.0.0.0/28 or 2 more."""
    backends = {BackendKey(b"web", b"%d" % n): Backend(ipv4=IN4 + n, tcp=8080) for n in range(count)}
    return {F: WEB, R(b"near"): route("10.0.0.0/28", "masq")} | backends


def wanted(merged):
    return [item for item in merged if isinstance(item, (RealServerWanted, VirtualServerWanted))]


@pytest.mark.parametrize("count", [10, 1000])
@pytest.mark.parametrize("elide", [False, True])
def test_changed_backend_costs_one_real_server_at_any_scale(count, elide):
    pipeline = Pipeline.of(many(count), elide=elide)
    resolved, merged = pipeline.put(BackendKey(b"web", b"7"), Backend(ipv4=IN4 + 7, tcp=8080, weight=3))
    assert [type(item) for item in resolved] == [BackendResolved]
    assert len(wanted(merged)) == 1
    pipeline.reconciler.observe(pipeline.reconciler.desired.copy())
    pipeline.put(BackendKey(b"web", b"7"), Backend(ipv4=IN4 + 7, tcp=8080, weight=4))
    assert len(pipeline.reconciler.next_steps(10_000, 0.0, lambda _: {})) == 1


@pytest.mark.parametrize("count", [40, 1000])
@pytest.mark.parametrize(
    ("prefix", "under"),
    [
        ("10.0.0.0/28", range(15)),  # 10.0.0.1 to 10.0.0.15
        ("10.0.0.16/28", range(15, 31)),
    ],
)
def test_changed_route_costs_only_the_backends_under_it(count, prefix, under):
    pipeline = Pipeline.of(many(count))
    resolved, merged = pipeline.put(R(b"a"), route(prefix, "droute"))
    concerned = {item.backend for item in resolved if isinstance(item, BackendResolved)}
    assert concerned == {b"%d" % n for n in under}
    assert len([item for item in wanted(merged) if item.settings is not None]) == len(under)


def test_route_that_loses_to_an_equal_prefix_costs_no_backend():
    pipeline = Pipeline.of(many(20))
    resolved, merged = pipeline.put(R(b"nearer"), route("10.0.0.0/28", "droute"))
    assert [type(item) for item in resolved] == [ProblemsOf]
    assert wanted(merged) == []


def test_backends_unchanged_by_a_changed_route_are_not_merged_again():
    pipeline = Pipeline.of(many(1000))
    resolved, merged = pipeline.put(R(b"all"), route(method="masq"))
    assert len(resolved) == 1000
    assert merged == []


def test_change_of_the_publisher_alone_changes_no_server():
    pipeline = Pipeline.of({F: WEB, B: ONE})
    assert wanted(pipeline.put(B, msgspec.structs.replace(ONE, publisher="docker1"))[1]) == []


def test_changed_frontend_costs_only_its_service():
    others = {BackendKey(b"other", b"%d" % n): Backend(ipv4=IN4, tcp=8080) for n in range(100)}
    pipeline = Pipeline.of({F: WEB, B: ONE, FrontendKey(b"other"): Frontend(ipv4=VIP4, tcp=81)} | others)
    resolved, merged = pipeline.put(F, Frontend(ipv4=VIP4, tcp=80, scheduler="rr"))
    assert [type(item) for item in resolved] == [ServiceResolved, BackendResolved]
    assert [type(item) for item in merged] == [VirtualServerWanted]
