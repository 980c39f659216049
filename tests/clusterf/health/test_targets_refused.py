"""Targets that are refused, or not, by where the backend and the check in force come from."""

from ipaddress import IPv4Address

import pytest

from clusterf.config.model import Backend, BackendCheck, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey
from clusterf.health.probe_policy import ProbePolicy
from clusterf.health.targets import Target, Targets
from clusterf.lib.addresses import parse_endpoint

VIP = IPv4Address("198.51.100.1")
WEB = FrontendKey(b"web")
ONE, TWO = BackendKey(b"web", b"1"), BackendKey(b"web", b"2")
HEALTH, DEFAULT = HealthKey(b"web"), HealthKey(None)
ALL = 1000


def backend(address, **more):
    return Backend(ipv4=IPv4Address(address), tcp=80, **more)


def at(address):
    return parse_endpoint(f"{address}:80")


DENIED = "not allowed (--health-deny)"


@pytest.mark.parametrize(
    ("backend_local", "check_local", "refused"),
    [(True, True, ""), (True, False, DENIED), (False, True, DENIED), (False, False, DENIED)],
)
@pytest.mark.parametrize("check_key", [HEALTH, DEFAULT])
def test_denied_address_is_probed_only_if_backend_and_check_are_from_files(
    check_key, backend_local, check_local, refused
):
    targets = Targets(policy=ProbePolicy(["127.0.0.0/8"]))
    targets.update(WEB, Frontend(ipv4=VIP, tcp=80))
    targets.update(check_key, HealthCheck(), local=check_local)
    targets.update(ONE, backend("127.0.0.1"), local=backend_local)
    [change] = targets.flush(ALL)
    assert change.after == Target(at("127.0.0.1"), HealthCheck(), refused)
    targets.update(TWO, backend("10.0.0.1"), local=backend_local)
    [change] = targets.flush(ALL)
    assert change.after.refused == ""


@pytest.mark.parametrize("moved", [(ONE, backend("127.0.0.1")), (HEALTH, HealthCheck())])
def test_value_that_comes_from_another_source_is_judged_again_and_keeps_its_verdict(moved):
    targets = Targets(policy=ProbePolicy(["127.0.0.0/8"]))
    for key, value in ((WEB, Frontend(ipv4=VIP, tcp=80)), (HEALTH, HealthCheck()), (ONE, backend("127.0.0.1"))):
        targets.update(key, value, local=True)
    targets.flush(ALL)
    allowed, denied = (Target(at("127.0.0.1"), HealthCheck(), refused) for refused in ("", DENIED))
    targets.update(*moved, local=False)
    assert targets.flush(ALL) == [(ONE, allowed, denied, True)]
    targets.update(*moved, local=True)
    assert targets.flush(ALL) == [(ONE, denied, allowed, True)]


def test_check_of_another_source_that_wins_is_not_from_files():
    targets = Targets(policy=ProbePolicy(["127.0.0.0/8"]))
    updates = ((WEB, Frontend(ipv4=VIP, tcp=80)), (DEFAULT, HealthCheck()), (ONE, backend("127.0.0.1")))
    for key, value in updates:
        targets.update(key, value, local=True)
    targets.flush(ALL)
    targets.update(HEALTH, HealthCheck())
    assert [change.after.refused for change in targets.flush(ALL)] == [DENIED]
    targets.update(HEALTH, None)
    assert [change.after.refused for change in targets.flush(ALL)] == [""]


def test_check_in_place_of_an_invalid_one_is_from_the_source_of_that():
    targets = Targets(policy=ProbePolicy(["127.0.0.0/8"]))
    targets.update(WEB, Frontend(ipv4=VIP, tcp=80), local=True)
    targets.update(ONE, backend("127.0.0.1"), local=True)
    targets.note(HEALTH, "file:///etc/clusterf", invalid=True)
    assert [change.after.refused for change in targets.flush(ALL)] == [""]
    targets.note(HEALTH, "etcd://10.0.0.1:2379/clusterf", invalid=True)
    assert [change.after.refused for change in targets.flush(ALL)] == [DENIED]


@pytest.mark.parametrize(("local", "refused"), [(True, ""), (False, DENIED)])
@pytest.mark.parametrize("origin", ["operator", "label", "invalid"])
def test_own_check_of_a_backend_is_from_where_the_backend_is(origin, local, refused):
    targets = Targets(policy=ProbePolicy(["127.0.0.0/8"]))
    targets.update(WEB, Frontend(ipv4=VIP, tcp=80))
    targets.update(ONE, backend("127.0.0.1", health=BackendCheck(origin=origin)), local=local)
    assert [change.after.refused for change in targets.flush(ALL)] == [refused]
    targets.update(HEALTH, HealthCheck(interval=9))
    own = origin == "operator"
    assert [change.after.refused for change in targets.flush(ALL)] == ([] if own else [DENIED])
