"""Who may own a VIP: keys of `vips/`, from configuration to table."""

from ipaddress import IPv4Address, IPv6Address, ip_network

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, VipKey, VipRule
from clusterf.resolve.resolver import ServiceResolved
from clusterf.resolve.virtual_servers import Defaults
from tests.clusterf.support.pipeline import Pipeline

VIP = IPv4Address("10.107.0.1")
KEY = VipKey(b"team-b")


def rule(*services, prefix="10.107.0.0/16"):
    return VipRule(ip_network(prefix), None, services)


def service(name, number, **fields):
    """Return a service at the VIP whose backends are named after the number."""
    frontend = Frontend(**{"ipv4": VIP, "tcp": 80} | fields)
    return {FrontendKey(name): frontend, BackendKey(name, b"1"): Backend(ipv4=IPv4Address("10.0.0.0") + number, tcp=80)}


VICTIM, THIEF = service(b"team-b-web", 2), service(b"aaa", 1)
OWNED = ["-A -t 10.107.0.1:80 -s wlc", "-a -t 10.107.0.1:80 -r 10.0.0.2:80 -m -w 10"]
STOLEN = ["-A -t 10.107.0.1:80 -s wlc", "-a -t 10.107.0.1:80 -r 10.0.0.1:80 -m -w 10"]
FORBIDDEN = "address 10.107.0.1 is forbidden: vips/team-b (10.107.0.0/16) has it for other services"


def reasons(pipeline):
    return {problem.path: problem.reason for problem in pipeline.outstanding}


def test_service_with_a_lower_name_does_not_take_a_vip_that_is_not_for_it():
    pipeline = Pipeline.of(VICTIM | {KEY: rule("team-b-*")})
    for key, value in THIEF.items():
        pipeline.put(key, value)
    assert pipeline.lines == OWNED
    assert reasons(pipeline) == {b"services/aaa/frontend": FORBIDDEN}
    assert all(problem.fatal for problem in pipeline.outstanding)


def test_key_that_comes_gives_the_vip_back_and_one_that_goes_opens_it():
    pipeline = Pipeline.of(VICTIM | THIEF)
    assert pipeline.lines == STOLEN
    pipeline.put(KEY, rule("team-b-*"))
    assert pipeline.lines == OWNED
    pipeline.put(KEY, rule("*"))
    assert pipeline.lines == STOLEN
    pipeline.put(KEY, rule("team-b-*"))
    pipeline.put(KEY, None)
    assert pipeline.lines == STOLEN
    assert reasons(pipeline) == {b"services/team-b-web/frontend": "10.107.0.1:80/tcp belongs to service aaa"}


def test_vip_that_no_claimant_may_have_has_no_virtual_server():
    pipeline = Pipeline.of(THIEF | {KEY: rule("team-b-*")})
    assert pipeline.lines == []
    pipeline.put(KEY, rule())
    assert pipeline.lines == []
    pipeline.put(KEY, None)
    assert pipeline.lines == STOLEN
    assert pipeline.outstanding == set()


def test_only_the_addresses_that_are_forbidden_are_lost():
    two = dict(THIEF)
    two[FrontendKey(b"aaa")] = Frontend(ipv4=VIP, ipv6=IPv6Address("fd00::1"), tcp=80, udp=80)
    pipeline = Pipeline.of(two | {KEY: rule("team-b-*")})
    assert pipeline.lines == ["-A -t [fd00::1]:80 -s wlc", "-A -u [fd00::1]:80 -s wlc"]
    assert [problem.reason for problem in pipeline.outstanding] == [FORBIDDEN]


def test_strict_policy_leaves_only_what_keys_cover():
    other = service(b"web", 3, ipv4=IPv4Address("192.0.2.1")) | service(b"marked", 4, ipv4=None, fwmark=7)
    pipeline = Pipeline.of(VICTIM | other | {KEY: rule("team-b-*")}, Defaults(strict_vips=True))
    assert pipeline.lines == OWNED
    assert reasons(pipeline).keys() == {b"services/web/frontend", b"services/marked/frontend"}


def test_changed_key_resolves_only_services_with_addresses_under_it():
    many = {
        FrontendKey(b"s%d" % number): Frontend(ipv4=IPv4Address("10.107.0.0") + number, tcp=80)
        for number in range(1000)
    }
    pipeline = Pipeline.of(many | {BackendKey(b"s1", b"%d" % n): Backend(ipv4=VIP, tcp=n + 1) for n in range(100)})
    resolved, merged = pipeline.put(KEY, rule("s1", prefix="10.107.0.0/30"))
    services = [item.service for item in resolved if isinstance(item, ServiceResolved)]
    assert services == [b"s0", b"s1", b"s2", b"s3"]
    assert not [item for item in resolved if type(item).__name__ == "BackendResolved"]
    assert len(merged) == 6  # three virtual servers go, and three problems come
    resolved, merged = pipeline.put(BackendKey(b"s1", b"0"), Backend(ipv4=VIP, tcp=1, weight=3))
    assert len(resolved) == len(merged) == 1
