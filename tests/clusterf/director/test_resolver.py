from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, Persistence, Route
from clusterf.config.model import RouteKey as R
from clusterf.config.problems import ProblemsOf
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from clusterf.director.resolver import BackendResolved, HealthPolicy, Resolver, ServiceResolved
from clusterf.director.virtual_servers import Defaults
from clusterf.ipvs.table import Method, ServiceFlag, Tunnel, TunnelType, VirtualServer
from clusterf.lib.addresses import Endpoint, Family
from tests.clusterf.support.left_behind import left_behind
from tests.clusterf.support.pipeline import NODE, Pipeline
from tests.clusterf.support.reference_model import expected
from tests.clusterf.support.strategies import BACKENDS, SERVICES, backends, frontends, node_defaults, routes, updates

VIP4, VIP6 = IPv4Address("198.51.100.1"), IPv6Address("fd00:ff::1")
IN4, IN6 = IPv4Address("10.0.0.1"), IPv6Address("fd00::1")
WEB = Frontend(ipv4=VIP4, tcp=80)
ONE = Backend(ipv4=IN4, tcp=8080)
F, B = FrontendKey(b"web"), BackendKey(b"web", b"1")
FLUSH = None


def route(prefix=None, method=None, gateway=None):
    fields = {}
    for word, value in (("prefix", prefix and ip_network(prefix)), ("gateway", gateway and ip_address(gateway))):
        fields |= {f"{word}{value.version}": value} if value else {}
    return Route(method=method, **fields)


def made(frontend, backend, *by_name, defaults=NODE):
    """Return the table's lines and the problems of one service with one backend, and these routes."""
    named = {R(b"%d" % number): value for number, value in enumerate(by_name)}
    pipeline = Pipeline.of({F: frontend, B: backend} | named, defaults)
    return pipeline.lines, sorted(str(problem) for problem in pipeline.outstanding)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("end", ["both", "other family", "other protocol", "no address", "no port"])
def test_a_backend_takes_part_with_an_address_of_the_family_and_a_port_of_the_protocol(family, protocol, end):
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


def test_a_frontend_becomes_a_virtual_server_for_each_family_and_protocol_that_it_names():
    frontend = Frontend(ipv4=VIP4, ipv6=VIP6, tcp=80, udp=53, sctp=9)
    backend = Backend(ipv4=IN4, ipv6=IN6, tcp=1, udp=2, sctp=3)
    table = Pipeline.of({F: frontend, B: backend}).table
    assert {str(v): [str(r) for r in reals] for v, reals in table.reals.items()} == {
        "198.51.100.1:80/tcp": ["10.0.0.1:1"],
        "198.51.100.1:53/udp": ["10.0.0.1:2"],
        "198.51.100.1:9/sctp": ["10.0.0.1:3"],
        "[fd00:ff::1]:80/tcp": ["[fd00::1]:1"],
        "[fd00:ff::1]:53/udp": ["[fd00::1]:2"],
        "[fd00:ff::1]:9/sctp": ["[fd00::1]:3"],
    }


@pytest.mark.parametrize("frontend", [Frontend(), Frontend(ipv4=VIP4), Frontend(tcp=80)])
def test_a_frontend_without_an_address_or_a_port_becomes_nothing(frontend):
    assert made(frontend, ONE) == ([], [])


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
def test_the_route_says_what_the_real_server_is(table, real):
    head = "-A -t 198.51.100.1:80 -s wlc"
    found, problems = made(WEB, ONE, *table)
    assert found == [head, *([f"-a -t 198.51.100.1:80 -r {real} -w 10"] if real else [])]
    changes_port = real is not None and real.startswith("10.0.0.1:80 ")
    assert [p.rpartition(": ")[0] for p in problems] == ([f"configuration: {HAS_PORT_80[0]}"] if changes_port else [])


def test_the_tunnel_of_a_route_is_that_of_the_real_servers_under_it():
    gue = Tunnel(TunnelType.GUE, 6080)
    wrapped = Route(prefix4=ip_network("10.0.0.0/8"), method="tunnel", tunnel=gue)
    pipeline = Pipeline.of({F: WEB, B: ONE, R(b"r"): wrapped})
    assert pipeline.lines[1].endswith("-i -w 10 --tun-type gue --tun-port 6080 --tun-nocsum")
    pipeline.put(R(b"r"), route("10.0.0.0/8", "tunnel"))
    assert pipeline.lines[1].endswith("-i -w 10")


@pytest.mark.parametrize("method", ["droute", "tunnel"])
def test_a_backend_that_has_the_frontend_s_port_anyway_is_not_reported(method):
    assert made(WEB, Backend(ipv4=IN4, tcp=80), route(method=method))[1] == []


@pytest.mark.parametrize(("method", "fits"), [("masq", False), ("droute", False), ("tunnel", True)])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_gateway_of_the_other_family_works_with_tunnel_only(method, fits, family):
    vip, inside, gateway = (VIP4, IN4, "fd09::1") if family == "ipv4" else (VIP6, IN6, "10.9.0.1")
    frontend, backend = Frontend(**{family: vip}, tcp=80, udp=80), Backend(**{family: inside}, tcp=8080, udp=8080)
    pipeline = Pipeline.of({F: frontend, B: backend, R(b"r"): route(method=method, gateway=gateway)})
    reals = [(r.address, r.port) for v in pipeline.table.virtuals for r in pipeline.table.reals[v]]
    assert reals == ([(ip_address(gateway), 80)] * 2 if fits else [])
    # once, though it concerns two virtual servers
    assert [p.path for problems in pipeline.problems.values() for p in problems] == (
        [] if fits else [b"services/web/backends/1"]
    )


def test_a_gateway_of_the_other_family_is_reported_but_stays_where_connections_are_synchronised():
    six = route(method="tunnel", gateway="fd09::1")
    lines, problems = made(WEB, ONE, six, defaults=Defaults(synced=True))
    assert lines[1] == "-a -t 198.51.100.1:80 -r [fd09::1]:80 -i -w 10"
    reason = "gateway fd09::1 is of the other address family, which --ipvs-sync rules out"
    assert problems == [f"configuration: services/web/backends/1: {reason}"]
    assert made(WEB, ONE, route(method="tunnel", gateway="10.9.0.1"), defaults=Defaults(synced=True))[1] == []


def test_without_a_route_the_node_s_own_method_counts():
    assert made(WEB, Backend(ipv4=IN4, tcp=80), defaults=Defaults(method=Method.DROUTE))[0][1].endswith("-g -w 10")


def test_of_routes_with_equal_prefixes_all_but_the_lowest_name_are_reported():
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


PERSISTENT = {"persistence": Persistence(timeout=60, netmask4=0xFFFFFF00, netmask6=64)}
FOUR, SIX = {"ipv4": VIP4}, {"ipv6": VIP6}


@pytest.mark.parametrize(
    ("fields", "scheduler", "flags", "timeout", "netmask"),
    [
        (FOUR | {"tcp": 80}, "wlc", 0, 0, 0xFFFFFFFF),
        (SIX | {"tcp": 80}, "wlc", 0, 0, 128),
        (FOUR | {"tcp": 80, "scheduler": "rr"}, "rr", 0, 0, 0xFFFFFFFF),
        (FOUR | {"tcp": 80, "one_packet": True}, "wlc", 0, 0, 0xFFFFFFFF),
        (FOUR | {"sctp": 80, "one_packet": True}, "wlc", 0, 0, 0xFFFFFFFF),
        (FOUR | {"udp": 80, "one_packet": True}, "wlc", 4, 0, 0xFFFFFFFF),
        (FOUR | {"tcp": 80} | PERSISTENT, "wlc", 1, 60, 0xFFFFFF00),
        (SIX | {"tcp": 80} | PERSISTENT, "wlc", 1, 60, 64),
        (FOUR | {"tcp": 80, "scheduler_flags": ("sh-port", "sh-fallback")}, "wlc", 0x18, 0, 0xFFFFFFFF),
        (FOUR | {"fwmark": 1, "one_packet": True}, "wlc", 4, 0, 0xFFFFFFFF),
    ],
)
def test_a_frontend_says_how_its_virtual_server_balances(fields, scheduler, flags, timeout, netmask):
    (found,) = Pipeline.of({F: Frontend(**fields)}).table.virtuals.values()
    assert (found.scheduler, found.flags, found.timeout, found.netmask) == (
        *(scheduler, ServiceFlag(flags)),
        *(timeout, netmask),
    )


def test_one_packet_is_for_the_udp_virtual_server_only():
    table = Pipeline.of({F: Frontend(ipv4=VIP4, tcp=53, udp=53, sctp=53, one_packet=True)}).table
    assert {v.protocol.name: bool(s.flags & ServiceFlag.ONE_PACKET) for v, s in table.virtuals.items()} == {
        "TCP": False,
        "UDP": True,
        "SCTP": False,
    }


@pytest.mark.parametrize(
    ("fields", "families"),
    [({}, [2]), (FOUR, [2]), (SIX, [10]), (FOUR | SIX, [2, 10]), (FOUR | {"tcp": 80}, [2])],
)
def test_a_fwmark_takes_the_place_of_addresses_and_ports(fields, families):
    table = Pipeline.of({F: Frontend(fwmark=7, **fields)}).table
    assert list(table.virtuals) == [VirtualServer(Family(family), fwmark=7) for family in families]


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
def test_behind_a_fwmark_the_first_protocol_named_gives_the_port(ports, method, real, reported):
    backend = Backend(ipv4=IN4, tcp=8080, udp=8053)
    found, problems = made(Frontend(fwmark=7, **ports), backend, route(method=method))
    assert found == ["-A -f 7 -s wlc", *([f"-a -f 7 -r {real} -w 10"] if real else [])]
    assert bool(problems) == reported


def test_an_excluded_address_is_left_alone_and_reported_once():
    defaults = Defaults(exclude=(ip_network("198.51.100.0/24"), ip_network("10.0.0.0/8")))
    found, problems = made(Frontend(ipv4=VIP4, ipv6=VIP6, tcp=80, udp=80), ONE, defaults=defaults)
    assert found == ["-A -t [fd00:ff::1]:80 -s wlc", "-A -u [fd00:ff::1]:80 -s wlc"]
    assert len(problems) == 1
    assert problems[0].startswith("configuration: services/web/frontend: address 198.51.100.1 is in a range")
    assert made(Frontend(ipv4=VIP4, fwmark=1), ONE, defaults=defaults)[1] == []


H, DEFAULT = HealthKey(b"web"), HealthKey(None)
DUAL = Frontend(ipv4=VIP4, ipv6=VIP6, tcp=80, udp=80)


def resolved(configuration):
    """Return all that is resolved of `configuration` at once."""
    resolver = Resolver(NODE)
    for key, value in configuration.items():
        resolver.update(key, value)
    return list(resolver.flush())


@pytest.mark.parametrize(
    ("checks", "frontend", "backend", "probed"),
    [
        ({}, DUAL, {"tcp": 1, "udp": 2}, None),
        ({H: HealthCheck()}, DUAL, {"tcp": 1, "udp": 2}, 1),
        ({DEFAULT: HealthCheck()}, DUAL, {"tcp": 1, "udp": 2}, 1),
        ({DEFAULT: HealthCheck(), H: HealthCheck(type="none")}, DUAL, {"tcp": 1, "udp": 2}, None),
        ({DEFAULT: HealthCheck(port=7), H: HealthCheck(port=8)}, DUAL, {"tcp": 1, "udp": 2}, 8),
        ({H: HealthCheck()}, DUAL, {"udp": 2}, None),
        ({H: HealthCheck(port=8)}, DUAL, {"udp": 2}, 8),
        ({H: HealthCheck()}, Frontend(ipv4=VIP4, ipv6=VIP6, fwmark=1), {"tcp": 1}, 1),
    ],
)
def test_a_backend_is_probed_where_its_service_s_check_says(checks, frontend, backend, probed):
    told = resolved({F: frontend, B: Backend(ipv4=IN4, ipv6=IN6, **backend)} | checks)
    (members,) = (item.members for item in told if isinstance(item, BackendResolved))
    assert members
    for virtual, member in members:
        address = IN4 if virtual.family is Family.IPV4 else IN6
        assert member.endpoint == (Endpoint(address.packed, probed) if probed else None)


@pytest.mark.parametrize(
    ("check", "policy"),
    [
        (None, None),
        (HealthCheck(type="none"), None),
        (HealthCheck(), HealthPolicy(starts_in_rotation=False, removes=False, panic_threshold=0.0)),
        (HealthCheck(initial="up", on_down="remove", panic_threshold=9), HealthPolicy(True, True, 9.0)),
    ],
)
def test_a_check_says_what_verdicts_do(check, policy):
    assert resolved({F: WEB} | ({H: check} if check else {}))[0].policy == policy


@pytest.mark.parametrize(
    "frontend", [Frontend(ipv4=VIP4, udp=53), Frontend(ipv4=VIP4, udp=53, sctp=9), Frontend(fwmark=1, sctp=9)]
)
def test_a_check_that_can_probe_nobody_is_reported(frontend):
    pipeline = Pipeline.of({F: frontend, H: HealthCheck()})
    (problem,) = pipeline.outstanding
    assert (problem.path, problem.fatal) == (b"services/web/health", True)
    for good in (HealthCheck(port=53), HealthCheck(type="none")):
        pipeline.put(H, good)
        assert not pipeline.outstanding
        pipeline.put(H, HealthCheck())
        assert pipeline.outstanding == {problem}
    pipeline.put(F, None)
    assert not pipeline.outstanding


def test_a_check_that_can_probe_nobody_is_reported_for_whose_it_is():
    pipeline = Pipeline.of({F: Frontend(ipv4=VIP4, udp=53), H: HealthCheck(), DEFAULT: HealthCheck()})
    assert {problem.path for problem in pipeline.outstanding} == {b"services/web/health"}
    pipeline.put(H, None)
    assert {problem.path for problem in pipeline.outstanding} == {b"services/web/frontend"}


def test_a_default_check_that_can_probe_nobody_of_a_service_makes_no_object_bad():
    pipeline = Pipeline.of({F: Frontend(ipv4=VIP4, udp=53), DEFAULT: HealthCheck()})
    (problem,) = pipeline.outstanding
    assert (problem.path, problem.fatal) == (b"services/web/frontend", False)
    pipeline.put(F, DUAL)
    assert not pipeline.outstanding


@pytest.mark.parametrize("own", [True, False])
def test_what_of_a_check_is_about_the_probes_alone_concerns_nobody(own):
    key = H if own else DEFAULT
    pipeline = Pipeline.of({F: WEB, B: ONE, key: HealthCheck()})
    assert pipeline.put(key, HealthCheck(type="http", interval=9, path="/x", fall=9)) == ([], [])


def test_what_of_a_check_is_about_its_effect_concerns_the_service_and_none_of_its_backends():
    pipeline = Pipeline.of({F: WEB, B: ONE, H: HealthCheck()})
    told, merged = pipeline.put(H, HealthCheck(on_down="remove"))
    assert [type(item) for item in told] == [ServiceResolved]
    assert merged == []


def test_a_changed_default_check_concerns_only_services_without_their_own():
    services = {FrontendKey(name): Frontend(ipv4=VIP4 + n, tcp=80) for n, name in enumerate([b"a", b"b", b"c"])}
    backends = {BackendKey(name, b"1"): ONE for name in (b"a", b"b", b"c")}
    own = {HealthKey(b"b"): HealthCheck(), HealthKey(b"c"): HealthCheck(type="none")}
    pipeline = Pipeline.of(services | backends | own)
    told, merged = pipeline.put(DEFAULT, HealthCheck(port=9))
    assert [(type(item), item.service) for item in told] == [(ServiceResolved, b"a"), (BackendResolved, b"a")]
    assert merged == []
    told, _ = pipeline.put(HealthKey(b"b"), None)
    assert {item.service for item in told} == {b"b"}
    told, _ = pipeline.put(HealthKey(b"b"), HealthCheck(port=9))
    assert [type(item) for item in told] == [ServiceResolved], "it says what the default says anyway"


def test_to_be_told_the_same_again_or_to_forget_the_unknown_changes_nothing():
    pipeline = Pipeline.of({F: WEB, B: ONE, R(b"r"): route("10.0.0.0/8", "droute")})
    for key, value in ((F, WEB), (B, ONE), (R(b"r"), route("10.0.0.0/8", "droute"))):
        assert pipeline.put(key, value) == ([], [])
    for key in (FrontendKey(b"x"), BackendKey(b"web", b"x"), BackendKey(b"x", b"x"), R(b"x")):
        assert pipeline.put(key, None) == ([], [])


# --- laws

history = st.lists(st.just(FLUSH) | updates, max_size=40)
whole = st.builds(
    lambda fronts, backs, ways: fronts | backs | ways,
    st.dictionaries(st.builds(FrontendKey, SERVICES), frontends, max_size=3),
    st.dictionaries(st.builds(BackendKey, SERVICES, BACKENDS), backends, max_size=8),
    st.dictionaries(st.builds(R, st.sampled_from([b"q", b"r", b"s", b"t"])), routes, max_size=4),
)


@settings(max_examples=400, deadline=None)
@given(history, node_defaults, st.booleans())
def test_any_history_ends_in_what_the_rules_say_of_the_configuration_at_its_end(changes, defaults, elide):
    pipeline, configuration = Pipeline(defaults, elide=elide), {}
    for change in [*changes, FLUSH]:
        if change is FLUSH:
            pipeline.flush()
            table, reported = expected(configuration, defaults, elide=elide)
            assert pipeline.table == table
            assert {problem.path for problem in pipeline.outstanding} == reported
        else:
            key, value = change
            pipeline.resolver.update(key, value)
            configuration.pop(key, None)
            configuration.update({} if value is None else {key: value})
    anew = Pipeline.of(configuration, defaults, elide=elide)
    assert anew.table == pipeline.table
    assert anew.outstanding == pipeline.outstanding


@settings(max_examples=150, deadline=None)
@given(whole, node_defaults, st.data())
def test_the_order_in_which_a_configuration_is_told_does_not_matter(configuration, defaults, data):
    straight = Pipeline.of(configuration, defaults)
    mixed = Pipeline(defaults)
    for key in data.draw(st.permutations(list(configuration))):
        mixed.put(key, configuration[key])
    assert mixed.table == straight.table == expected(configuration, defaults)[0]
    assert mixed.outstanding == straight.outstanding


@settings(max_examples=100, deadline=None)
@given(whole, node_defaults, st.booleans())
def test_what_is_all_taken_back_leaves_nothing_behind(configuration, defaults, elide):
    pipeline = Pipeline.of(configuration, defaults, elide=elide)
    for key in configuration:
        pipeline.resolver.update(key, None)
    pipeline.flush()
    assert not pipeline.table.virtuals
    assert not pipeline.outstanding
    for part in (pipeline.resolver, pipeline.merger):
        assert left_behind(part) == {}


# --- work is proportional to the change


def many(count):
    """Return a configuration of one service with `count` backends, a tenth of them under 10.0.0.0/28 or 2 more."""
    backends = {BackendKey(b"web", b"%d" % n): Backend(ipv4=IN4 + n, tcp=8080) for n in range(count)}
    return {F: WEB, R(b"near"): route("10.0.0.0/28", "masq")} | backends


def wanted(merged):
    return [item for item in merged if isinstance(item, (RealServerWanted, VirtualServerWanted))]


@pytest.mark.parametrize("count", [10, 1000])
@pytest.mark.parametrize("elide", [False, True])
def test_one_changed_backend_is_one_look_up_and_one_real_server_at_any_scale(count, elide):
    pipeline = Pipeline.of(many(count), elide=elide)
    resolved, merged = pipeline.put(BackendKey(b"web", b"7"), Backend(ipv4=IN4 + 7, tcp=8080, weight=3))
    assert [type(item) for item in resolved] == [BackendResolved]
    assert len(wanted(merged)) == 1
    pipeline.reconciler.observe(pipeline.reconciler.desired.copy())
    pipeline.put(BackendKey(b"web", b"7"), Backend(ipv4=IN4 + 7, tcp=8080, weight=4))
    assert len(pipeline.reconciler.next_steps(10_000, 0.0, lambda _: {})) == 1


@pytest.mark.parametrize("count", [20, 1000])
def test_one_changed_route_concerns_only_the_backends_under_it(count):
    pipeline = Pipeline.of(many(count))
    resolved, merged = pipeline.put(R(b"near"), route("10.0.0.0/28", "droute"))
    concerned = {item.backend for item in resolved if isinstance(item, BackendResolved)}
    assert concerned == {b"%d" % n for n in range(15)}  # 10.0.0.1 to 10.0.0.15
    assert len([item for item in wanted(merged) if item.settings is not None]) == 15


def test_a_route_that_loses_to_an_equal_prefix_concerns_no_backend():
    pipeline = Pipeline.of(many(20))
    resolved, merged = pipeline.put(R(b"nearer"), route("10.0.0.0/28", "droute"))
    assert [type(item) for item in resolved] == [ProblemsOf]
    assert wanted(merged) == []


def test_backends_that_a_changed_route_leaves_as_they_are_are_not_merged_again():
    pipeline = Pipeline.of(many(1000))
    resolved, merged = pipeline.put(R(b"all"), route(method="masq"))
    assert len(resolved) == 1000
    assert merged == []


def test_a_changed_frontend_concerns_its_own_service_only():
    others = {BackendKey(b"other", b"%d" % n): Backend(ipv4=IN4, tcp=8080) for n in range(100)}
    pipeline = Pipeline.of({F: WEB, B: ONE, FrontendKey(b"other"): Frontend(ipv4=VIP4, tcp=81)} | others)
    resolved, merged = pipeline.put(F, Frontend(ipv4=VIP4, tcp=80, scheduler="rr"))
    assert [type(item) for item in resolved] == [ServiceResolved, BackendResolved]
    assert [type(item) for item in merged] == [VirtualServerWanted]
