import pytest

from clusterf.config.model import Backend, BackendCheck, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey
from clusterf.health.policies import HealthPolicy
from clusterf.lib.addresses import Endpoint, Family
from clusterf.resolve.resolver import BackendResolved, Resolver, ServiceResolved
from tests.clusterf.support.one_service import IN4, IN6, ONE, VIP4, VIP6, WEB, B, F
from tests.clusterf.support.pipeline import NODE, Pipeline

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
def test_backend_is_probed_at_the_port_of_its_check(checks, frontend, backend, probed):
    resolved_items = resolved({F: frontend, B: Backend(ipv4=IN4, ipv6=IN6, **backend)} | checks)
    (members,) = (item.members for item in resolved_items if isinstance(item, BackendResolved))
    assert members
    for virtual, member in members:
        address = IN4 if virtual.family is Family.IPV4 else IN6
        assert member.endpoint == (Endpoint(address.packed, probed) if probed else None)


@pytest.mark.parametrize(
    ("check", "policy"),
    [
        (None, None),
        (HealthCheck(type="none"), None),
        (
            HealthCheck(),
            HealthPolicy(False, False, panic_threshold=0.0, proving=21.0, lapse=15.0),
        ),
        (HealthCheck(initial="up", on_down="remove", panic_threshold=9), HealthPolicy(True, True, 9.0, 21.0, 15.0)),
    ],
)
def test_policy_follows_from_the_check(check, policy):
    assert resolved({F: WEB} | ({H: check} if check else {}))[0].policy == policy


@pytest.mark.parametrize(
    "frontend", [Frontend(ipv4=VIP4, udp=53), Frontend(ipv4=VIP4, udp=53, sctp=9), Frontend(fwmark=1, sctp=9)]
)
def test_check_that_can_probe_no_backend_is_reported(frontend):
    pipeline = Pipeline.of({F: frontend, H: HealthCheck()})
    (problem,) = pipeline.outstanding
    assert (problem.path, problem.fatal) == (b"services/web/health", True)
    assert problem.reason == "needs a port, as the service has no TCP port: its backends are not checked"
    for good in (HealthCheck(port=53), HealthCheck(type="none")):
        pipeline.put(H, good)
        assert not pipeline.outstanding
        pipeline.put(H, HealthCheck())
        assert pipeline.outstanding == {problem}
    pipeline.put(F, None)
    assert not pipeline.outstanding


def test_check_that_can_probe_no_backend_is_reported_for_the_object_that_has_it():
    pipeline = Pipeline.of({F: Frontend(ipv4=VIP4, udp=53), H: HealthCheck(), DEFAULT: HealthCheck()})
    assert {problem.path for problem in pipeline.outstanding} == {b"services/web/health"}
    pipeline.put(H, None)
    assert {problem.path for problem in pipeline.outstanding} == {b"services/web/frontend"}


def test_default_check_that_can_probe_no_backend_of_a_service_is_a_warning():
    pipeline = Pipeline.of({F: Frontend(ipv4=VIP4, udp=53), DEFAULT: HealthCheck()})
    (problem,) = pipeline.outstanding
    assert (problem.path, problem.fatal) == (b"services/web/frontend", False)
    reason = "neither the service has a TCP port nor the default health check a port: its backends are not checked"
    assert str(problem) == f"configuration: services/web/frontend: {reason}"
    pipeline.put(F, DUAL)
    assert not pipeline.outstanding


@pytest.mark.parametrize("own", [True, False])
def test_change_of_a_check_that_concerns_only_the_probes_costs_nothing(own):
    key = H if own else DEFAULT
    pipeline = Pipeline.of({F: WEB, B: ONE, key: HealthCheck()})
    assert pipeline.put(key, HealthCheck(type="http", path="/x", rise=9, fast_interval=2)) == ([], [])


def test_check_of_a_service_without_a_frontend_costs_nothing():
    pipeline = Pipeline.of({B: ONE})
    assert pipeline.put(H, HealthCheck()) == ([], [])


def test_change_of_policy_costs_the_service_but_not_its_backends():
    pipeline = Pipeline.of({F: WEB, B: ONE, H: HealthCheck()})
    resolved_items, merged = pipeline.put(H, HealthCheck(on_down="remove"))
    assert [type(item) for item in resolved_items] == [ServiceResolved]
    assert merged == []


def test_changed_default_check_costs_only_services_without_a_check_of_their_own():
    services = {FrontendKey(name): Frontend(ipv4=VIP4 + n, tcp=80) for n, name in enumerate([b"a", b"b", b"c"])}
    backends = {BackendKey(name, b"1"): ONE for name in (b"a", b"b", b"c")}
    own = {HealthKey(b"b"): HealthCheck(), HealthKey(b"c"): HealthCheck(type="none")}
    pipeline = Pipeline.of(services | backends | own)
    resolved_items, merged = pipeline.put(DEFAULT, HealthCheck(port=9))
    assert [(type(item), item.service) for item in resolved_items] == [(ServiceResolved, b"a"), (BackendResolved, b"a")]
    assert merged == []
    resolved_items, _ = pipeline.put(HealthKey(b"b"), None)
    assert {item.service for item in resolved_items} == {b"b"}
    resolved_items, _ = pipeline.put(HealthKey(b"b"), HealthCheck(port=9))
    assert [type(item) for item in resolved_items] == [ServiceResolved], "it says what the default says anyway"


@pytest.mark.parametrize("check", [H, DEFAULT])
def test_backends_of_a_service_with_an_invalid_check_are_probed_by_tcp(check):
    resolver = Resolver(NODE)
    for key, value in {F: WEB, B: ONE}.items():
        resolver.update(key, value)
    resolver.note(check, "tree", invalid=True)
    resolver.note(F, "tree", invalid=True)
    service, backend = resolver.flush()
    assert service.policy is not None
    assert all(member.endpoint is not None for _, member in backend.members)
    resolver.note(check, "tree", invalid=True)
    assert list(resolver.flush()) == []
    resolver.note(check, "tree", invalid=False)
    service, backend = resolver.flush()
    assert service.policy is None
    assert all(member.endpoint is None for _, member in backend.members)


def own(origin="label", **fields):
    return Backend(ipv4=IN4, tcp=8080, health=BackendCheck(HealthCheck(**fields), origin))


def member(pipeline):
    """Return the one member of the backend, as of the last change."""
    ((_, found),) = pipeline.merger._members[b"web", b"1"]
    return found


def test_backend_with_a_check_of_its_own_is_probed_as_that_says():
    pipeline = Pipeline.of({F: WEB, B: own(port=9, interval=1, fall=4), BackendKey(b"web", b"2"): ONE})
    assert member(pipeline).endpoint == Endpoint(IN4.packed, 9)
    assert member(pipeline).policy.lapse == 4
    ((_, other),) = pipeline.merger._members[b"web", b"2"]
    assert (other.endpoint, other.policy) == (None, None)


def test_label_yields_to_a_check_of_the_service_that_probes_elsewhere():
    pipeline = Pipeline.of({F: WEB, B: own(port=9), DEFAULT: HealthCheck()})
    pipeline.put(H, HealthCheck())
    assert member(pipeline).endpoint == Endpoint(IN4.packed, 8080)
    assert member(pipeline).policy is None
    pipeline.put(H, None)
    assert member(pipeline).endpoint == Endpoint(IN4.packed, 9)
    pipeline.put(B, own(origin="operator", type="none"))
    assert (member(pipeline).endpoint, member(pipeline).policy) == (None, None)


def test_own_check_that_lacks_a_port_is_reported_for_its_backend():
    frontend = Frontend(ipv4=VIP4, udp=53)
    udp = Backend(ipv4=IN4, udp=53, health=BackendCheck())
    pipeline = Pipeline.of({F: frontend, B: udp})
    (problem,) = pipeline.outstanding
    assert (problem.path, problem.fatal) == (b"services/web/backends/1", True)
    assert problem.reason == "its health check needs a port, as there is no TCP port: it is not checked"
    pipeline.put(B, Backend(ipv4=IN4, udp=53, health=BackendCheck(HealthCheck(port=53))))
    assert not pipeline.outstanding
