import zlib
from collections import Counter
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterf.config.model import Backend, BackendCheck, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey
from clusterf.health.targets import Target, Targets, endpoint, probe_settings, shard_of
from clusterf.lib.addresses import Family, parse_endpoint
from tests.clusterf.support.strategies import BACKENDS, SERVICES, backends, frontends

VIP, VIP6 = IPv4Address("198.51.100.1"), IPv6Address("fd00:ff::1")
WEB = FrontendKey(b"web")
ONE, TWO = BackendKey(b"web", b"1"), BackendKey(b"web", b"2")
HEALTH, DEFAULT = HealthKey(b"web"), HealthKey(None)
ALL = 1000


def backend(address, port=80, **more):
    return Backend(ipv4=IPv4Address(address), tcp=port, **more)


def at(address, port=80):
    return parse_endpoint(f"{address}:{port}")


def target(address, port=80, **check):
    where = at(address, port)
    return Target(where, probe_settings(HealthCheck(**check), Family.of(where.address)))


def flushed(*updates, targets=None, **shard):
    """Return targets after these updates, with nothing left to flush."""
    targets = targets or Targets(**shard)
    for key, value in updates:
        targets.update(key, value)
    targets.flush(ALL)
    return targets


def changes(targets, *updates):
    """Return the changes by updates, as (key, before, after, inherits)."""
    for key, value in updates:
        targets.update(key, value)
    return [tuple(change) for change in targets.flush(ALL)]


@pytest.fixture
def web():
    return flushed((WEB, Frontend(ipv4=VIP, tcp=80)), (ONE, backend("10.0.0.1")), (DEFAULT, HealthCheck()))


def test_backend_of_a_checked_service_is_a_target():
    targets = Targets()
    updates = (DEFAULT, HealthCheck()), (ONE, backend("10.0.0.1", 8080)), (WEB, Frontend(ipv4=VIP, tcp=80))
    assert changes(targets, *updates) == [(ONE, None, target("10.0.0.1", 8080), False)]
    assert changes(targets) == []
    assert list(targets.backends(target("10.0.0.1", 8080))) == [ONE]
    assert len(targets) == 1


@pytest.mark.parametrize(
    ("frontend", "check", "expected"),
    [
        (Frontend(ipv4=VIP, tcp=80), HealthCheck(), {at("10.0.0.1", 81)}),
        (Frontend(ipv6=VIP6, tcp=80), HealthCheck(), {at("[fd00::1]", 81)}),
        (Frontend(ipv4=VIP, ipv6=VIP6, tcp=80), HealthCheck(), {at("10.0.0.1", 81), at("[fd00::1]", 81)}),
        (Frontend(ipv4=VIP, udp=80), HealthCheck(), set()),
        (Frontend(ipv4=VIP, udp=80), HealthCheck(port=9), {at("10.0.0.1", 9)}),
        (Frontend(ipv4=VIP, udp=80, tcp=80), HealthCheck(), {at("10.0.0.1", 81)}),
        (Frontend(ipv4=VIP), HealthCheck(), set()),
        (Frontend(fwmark=1), HealthCheck(), {at("10.0.0.1", 81)}),
        (Frontend(ipv6=VIP6, fwmark=1), HealthCheck(), {at("[fd00::1]", 81)}),
        (Frontend(ipv4=VIP, tcp=80), HealthCheck(type="none"), set()),
        (Frontend(ipv4=VIP, tcp=80), None, set()),
        (None, HealthCheck(), set()),
    ],
)
def test_endpoints_of_a_backend(frontend, check, expected):
    both = Backend(ipv4=IPv4Address("10.0.0.1"), ipv6=IPv6Address("fd00::1"), tcp=81, udp=82)
    targets = Targets()
    found = changes(targets, (WEB, frontend), (ONE, both), (HEALTH, check))
    assert {after.endpoint for _, _, after, _ in found} == expected


def test_check_of_the_service_replaces_the_default_also_with_type_none(web):
    found = changes(web, (HEALTH, HealthCheck(interval=9)))
    assert found == [(ONE, target("10.0.0.1"), target("10.0.0.1", interval=9), True)]
    assert changes(web, (DEFAULT, HealthCheck(interval=7))) == []
    found = changes(web, (HEALTH, HealthCheck(type="none")))
    assert found == [(ONE, target("10.0.0.1", interval=9), None, False)]
    found = changes(web, (HEALTH, None))
    assert found == [(ONE, None, target("10.0.0.1", interval=7), False)]
    assert changes(web, (DEFAULT, None)) == [(ONE, target("10.0.0.1", interval=7), None, False)]
    assert len(web) == 0


def test_fields_about_the_effect_of_a_verdict_change_no_target(web):
    effect = HealthCheck(on_down="remove", panic_threshold=50, source6=IPv6Address("fd00::9"))
    assert changes(web, (DEFAULT, effect), (ONE, backend("10.0.0.1", weight=0))) == []


def test_source_address_applies_to_its_own_family(web):
    source = IPv4Address("10.9.9.9")
    found = changes(web, (DEFAULT, HealthCheck(source4=source)))
    assert found == [(ONE, target("10.0.0.1"), target("10.0.0.1", source4=source), True)]
    six = flushed((WEB, Frontend(ipv6=VIP6, tcp=80)), (ONE, Backend(ipv6=IPv6Address("fd00::1"), tcp=80)))
    ((_, _, after, _),) = changes(six, (DEFAULT, HealthCheck(source4=source)))
    assert after == target("[fd00::1]")
    ((_, _, after, _),) = changes(six, (DEFAULT, HealthCheck(source6=IPv6Address("fd00::9"))))
    assert after.check.source6 == IPv6Address("fd00::9")


def test_backends_that_are_probed_alike_share_a_target(web):
    other = BackendKey(b"api", b"x")
    updates = (FrontendKey(b"api"), Frontend(ipv4=VIP, udp=53)), (other, backend("10.0.0.1"))
    changes(web, *updates, (HealthKey(b"api"), HealthCheck(port=80)))
    assert list(web.backends(target("10.0.0.1"))) == [ONE, other]
    assert changes(web, (ONE, None)) == [(ONE, target("10.0.0.1"), None, False)]
    assert list(web.backends(target("10.0.0.1"))) == [other]
    changes(web, (other, None))
    assert not web.backends(target("10.0.0.1"))


def test_verdict_is_inherited_only_at_the_same_address_and_port(web):
    def inherits(*updates):
        (change,) = changes(web, *updates)
        return change[3]

    assert inherits((DEFAULT, HealthCheck(type="http")))
    assert inherits((DEFAULT, HealthCheck(type="http", port=81)))
    assert not inherits((ONE, backend("10.0.0.2")))
    assert not inherits((ONE, backend("10.0.0.2", 82)), (DEFAULT, HealthCheck()))
    assert not inherits((ONE, backend("10.0.0.2", 80)))


def test_changed_default_concerns_only_services_without_a_check_of_their_own(web):
    for name in (b"api", b"dns"):
        updates = (FrontendKey(name), Frontend(ipv4=VIP, tcp=1)), (BackendKey(name, b"1"), backend("10.0.0.1"))
        flushed(*updates, targets=web)
    flushed((HEALTH, HealthCheck(rise=5)), (HealthKey(b"dns"), HealthCheck(type="none")), targets=web)
    found = changes(web, (DEFAULT, HealthCheck(fall=9)))
    assert [key for key, *_ in found] == [BackendKey(b"api", b"1")]


def test_flush_visits_only_the_backends_concerned(web, monkeypatch):
    for number in range(50):
        key = FrontendKey(b"%d" % number)
        flushed((key, Frontend(ipv4=VIP, tcp=1)), (BackendKey(key.service, b"1"), backend("10.0.0.1")), targets=web)
    visited = []
    monkeypatch.setattr(web, "_flush_backend", lambda key: visited.append(key) or [])
    changes(web, (TWO, backend("10.0.0.2")))
    assert visited == [TWO]
    changes(web, (HEALTH, HealthCheck(fall=9)))
    assert visited[1:] == [ONE, TWO]
    changes(web, (HealthKey(b"9"), HealthCheck()), (WEB, Frontend(ipv4=VIP, tcp=80)))  # the second changes nothing
    assert visited[3:] == [BackendKey(b"9", b"1")]
    changes(web, (DEFAULT, HealthCheck(rise=9)))
    assert len(visited[4:]) == 49
    assert not {ONE, TWO, BackendKey(b"9", b"1")} & set(visited[4:])


def test_flush_returns_no_more_than_its_limit(web):
    for number in range(10):
        web.update(BackendKey(b"web", b"b%d" % number), backend(f"10.0.1.{number}"))
    web.update(DEFAULT, HealthCheck(fall=9))
    sizes = []
    while web.pending:
        sizes.append(len(web.flush(4)))
    assert sizes == [4, 4, 3]
    assert web.flush(4) == []


def test_each_endpoint_belongs_to_one_shard():
    frontend = Frontend(ipv4=VIP, ipv6=VIP6, tcp=80)
    both = [Backend(IPv4Address(f"10.0.0.{n}"), IPv6Address(f"fd00::{n}"), tcp=80) for n in range(100)]
    updates = [
        (WEB, frontend),
        (DEFAULT, HealthCheck()),
        *((BackendKey(b"web", b"%d" % n), b) for n, b in enumerate(both)),
    ]
    every = flushed(*updates)
    shards = [flushed(*updates, shard=shard, shards=3) for shard in range(3)]
    found = Counter(target for shard in shards for target in shard._backends_of)
    assert found == dict.fromkeys(every._backends_of, 1)
    assert min(len(shard) for shard in shards) > 40


def test_shard_of_an_endpoint_never_changes():
    assert [shard_of(at("10.0.0.1", port), 7) for port in (80, 81, 443)] == [
        zlib.crc32(bytes([10, 0, 0, 1, *port.to_bytes(2)])) % 7 for port in (80, 81, 443)
    ]


OWN = backend("10.0.0.1", health=BackendCheck(HealthCheck()))
LABELLED = backend("10.0.0.2", health=BackendCheck(HealthCheck(), "label"))
checks = st.builds(
    HealthCheck,
    type=st.sampled_from(["none", "tcp", "http"]),
    port=st.sampled_from([0, 0, 80, 9]),
    fall=st.sampled_from([1, 2]),
    on_down=st.sampled_from(["drain", "remove"]),
    source4=st.sampled_from([None, IPv4Address("10.9.9.9")]),
)
updates = st.one_of(
    st.tuples(st.builds(FrontendKey, SERVICES), st.none() | frontends),
    st.tuples(st.builds(BackendKey, SERVICES, BACKENDS), st.none() | backends),
    st.tuples(st.builds(BackendKey, SERVICES, BACKENDS), backends),
    st.tuples(st.builds(HealthKey, SERVICES | st.none()), st.none() | checks),
)


def in_force(own, of_service, default):
    """Return the check of a backend: an operator's comes first, one by a label before the default."""
    by = {own.origin: own.check} if own else {}
    return by.get("operator") or of_service or by.get("label") or default or by.get("invalid")


def from_scratch(state, shard, shards):
    """Return all pairs of a backend and a target, computed from the whole configuration."""
    found = set()
    for key, backend in state.items():
        frontend = state.get(FrontendKey(key.service)) if isinstance(key, BackendKey) else None
        if frontend is None:
            continue
        check = in_force(backend.health, state.get(HealthKey(key.service)), state.get(HealthKey(None)))
        for family in frontend.families:
            where = endpoint(frontend, backend, check, family)
            if where is not None and shard_of(where, shards) == shard:
                found.add((key, Target(where, probe_settings(check, family))))
    return found


# own checks, which name no port where the service has no TCP: only the default would probe these backends
@example([(WEB, Frontend(ipv4=VIP, sctp=80)), (ONE, OWN), (TWO, LABELLED), (DEFAULT, HealthCheck(port=9))], [5] * 4, 1)
@example([(WEB, Frontend(ipv4=VIP, tcp=80)), (ONE, OWN), (TWO, LABELLED), (HEALTH, HealthCheck(port=9))], [5] * 4, 1)
@given(st.lists(updates, max_size=30), st.lists(st.integers(0, 5), min_size=30, max_size=30), st.integers(1, 2))
def test_changes_flushed_in_any_parts_add_up_to_the_targets_of_the_configuration(updates, parts, shards):
    targets, state, sum_of_changes = Targets(0, shards), {}, set()

    def take(most):
        for key, before, after, inherits in targets.flush(most):
            assert before != after
            assert not inherits or (before is not None and after is not None)
            if before is not None:
                sum_of_changes.remove((key, before))
            if after is not None:
                sum_of_changes.add((key, after))

    for (key, value), most in zip(updates, parts, strict=False):
        targets.update(key, value)
        state[key] = value
        take(most)
    while targets.pending:
        take(3)
    state = {key: value for key, value in state.items() if value is not None}
    expected = from_scratch(state, 0, shards)
    assert sum_of_changes == expected
    assert {(key, t) for t in targets._backends_of for key in targets.backends(t)} == expected
    assert len(targets) == len({target for _, target in expected})


@pytest.mark.parametrize("check", [HEALTH, DEFAULT])
def test_backends_of_a_service_with_an_invalid_check_are_probed_by_tcp(check):
    targets = flushed((WEB, Frontend(ipv4=VIP, tcp=80)), (ONE, backend("10.0.0.1")))
    assert not len(targets)
    targets.note(check, "tree", invalid=True)
    targets.note(WEB, "tree", invalid=True)
    assert changes(targets) == [(ONE, None, target("10.0.0.1"), False)]
    targets.note(check, "tree", invalid=True)
    assert not targets.pending
    targets.note(check, "tree", invalid=False)
    assert [after for _, _, after, _ in changes(targets)] == [None]


def test_check_of_a_backend_is_for_that_backend_only(web):
    own = BackendCheck(HealthCheck(type="http", path="/own"), "label")
    found = changes(web, (TWO, backend("10.0.0.2")), (ONE, backend("10.0.0.1", health=own)))
    http = target("10.0.0.1", type="http", path="/own")
    assert found == [(TWO, None, target("10.0.0.2"), False), (ONE, target("10.0.0.1"), http, True)]
    found = changes(web, (HEALTH, HealthCheck(interval=9)))
    assert found == [
        (ONE, http, target("10.0.0.1", interval=9), True),
        (TWO, target("10.0.0.2"), target("10.0.0.2", interval=9), True),
    ]
    assert changes(web, (HEALTH, None), (DEFAULT, None)) == [
        (ONE, target("10.0.0.1", interval=9), http, True),
        (TWO, target("10.0.0.2", interval=9), None, False),
    ]


def test_backends_at_one_endpoint_with_different_checks_are_different_targets(web):
    own = BackendCheck(HealthCheck(interval=9))
    changes(web, (TWO, backend("10.0.0.1", health=own)))
    assert len(web) == 2
    assert list(web.backends(target("10.0.0.1"))) == [ONE]
    assert list(web.backends(target("10.0.0.1", interval=9))) == [TWO]
