from ipaddress import IPv4Address, IPv6Address
from itertools import cycle

from hypothesis import event, given, settings
from hypothesis import strategies as st

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, RouteKey
from clusterf.director.rotation import Rotation
from clusterf.director.unproven import LONGEST
from clusterf.ipvs.table import Method, RealServerSettings
from clusterf.lib.addresses import Endpoint
from tests.clusterf.support.director import VIP, VIP6
from tests.clusterf.support.left_behind import left_behind
from tests.clusterf.support.pipeline import Pipeline
from tests.clusterf.support.reference_model import Model, expected
from tests.clusterf.support.strategies import (
    BACKENDS,
    SERVICES,
    backends,
    checks,
    frontends,
    node_defaults,
    routes,
    updates,
)
from tests.examples import examples

FLUSH, BEGIN = "flush", "begin"
ADDRESSES = st.sampled_from([*[None] * 8, IPv4Address("10.0.0.1"), IPv6Address("fd00::1")])
verdicts = st.tuples(
    st.just("verdict"),
    *(st.sampled_from([b"a", b"a", b"b"]), st.sampled_from([b"1", b"2", b"3"])),
    *(st.sampled_from(["ipv4", "ipv4", "ipv6"]), ADDRESSES, st.sampled_from([*[None] * 6, 80, 81])),
    st.sampled_from([True, *[False] * 4, None]),
)
toggles = st.tuples(
    st.sampled_from([FrontendKey(b"a"), BackendKey(b"a", b"1"), HealthKey(b"a"), HealthKey(None)]), st.just("toggle")
)
controls = st.just(FLUSH)
# (each kind of update has the same chance as each of these)
changes = st.one_of(*[verdicts] * 10, updates, *[toggles] * 2, *[controls] * 3)
histories = st.builds(
    lambda before, after: [*before, BEGIN, *after],
    st.lists(changes, max_size=10),
    st.lists(changes, min_size=20, max_size=50),
)
dense_frontends = st.builds(
    lambda address, udp, ipv6: Frontend(ipv4=VIP + address, ipv6=ipv6, tcp=80, udp=udp),
    *(st.integers(0, 1), st.none() | st.just(80), st.none() | st.just(VIP6)),
)
dense_backends = st.builds(
    lambda four, six, port, weight: Backend(
        ipv4=IPv4Address("10.0.0.0") + four, ipv6=IPv6Address("fd00::") + six, tcp=port, udp=80, weight=weight
    ),
    *(st.integers(1, 2), st.integers(1, 2), st.sampled_from([80, 80, 81]), st.sampled_from([1, 10])),
)
dense_checks = st.builds(
    HealthCheck,
    initial=st.sampled_from(["up", "down"]),
    panic_threshold=st.sampled_from([0.0, 50.0, 67.0, 100.0]),
    on_down=st.sampled_from(["drain", "remove"]),
)
dense = st.fixed_dictionaries(
    {FrontendKey(b"a"): dense_frontends, HealthKey(None): dense_checks}
    | {BackendKey(b"a", name): dense_backends for name in (b"1", b"2", b"3")},
    optional={FrontendKey(b"b"): dense_frontends, HealthKey(b"a"): checks, HealthKey(b"b"): checks}
    | {BackendKey(b"b", name): dense_backends for name in (b"1", b"2")}
    | {RouteKey(b"q"): routes},
)
sparse = st.builds(
    lambda *parts: {each: value for part in parts for each, value in part.items()},
    st.dictionaries(st.builds(FrontendKey, SERVICES), frontends, max_size=3),
    st.dictionaries(st.builds(BackendKey, SERVICES, BACKENDS), backends, max_size=10),
    st.dictionaries(st.builds(RouteKey, st.sampled_from([b"q", b"r"])), routes, max_size=2),
    st.dictionaries(st.builds(HealthKey, st.none() | SERVICES), checks, max_size=4),
)
beginnings = dense | dense | sparse
weights_in_force = st.lists(st.sampled_from([None, 0, 10]), min_size=1)


def in_force(configuration, defaults, weights):
    table, chosen = expected(configuration, defaults)[0], cycle(weights)
    for virtual, reals in table.reals.items():
        for real, weight in zip(list(reals), chosen, strict=False):
            table.put_real(virtual, real, None if weight is None else RealServerSettings(Method.MASQ, weight))
    return table


def named_endpoint(configuration, change):
    """Return the endpoint of a verdict in a history: as drawn, or else the backend's own."""
    _, service, backend, family, address, port, _ = change
    of = configuration.get(BackendKey(service, backend))
    address, port = address or getattr(of, family, None), port or getattr(of, "tcp", None)
    return Endpoint(address.packed, port) if address and port else None


@settings(max_examples=examples(400), deadline=None)
@given(beginnings, histories, weights_in_force, node_defaults, st.booleans())
def test_any_history_of_verdicts_and_configuration_ends_in_the_table_of_the_reference_model(
    beginning, history, weights, defaults, elide
):
    configuration = dict(beginning)
    kernel = in_force(configuration, defaults, weights)
    model, rotation = Model(defaults, kernel, elide=elide), Rotation(lambda: kernel)
    pipeline = Pipeline(defaults, elide=elide, rotation=rotation)
    for each, value in configuration.items():
        pipeline.resolver.update(each, value)
    for change in [FLUSH, *history, FLUSH]:
        match change:
            case "begin":
                pipeline.flush()
                model.step(configuration)
                rotation.begin()
                model.begin()
            case "verdict", service, backend, _, _, _, up:
                endpoint = named_endpoint(configuration, change)
                if endpoint is not None:
                    rotation.put_verdict(service, backend, endpoint, up)
                    model.verdicts.pop((service, backend, endpoint), None)
                    model.verdicts.update({} if up is None else {(service, backend, endpoint): up})
            case "flush":
                pipeline.flush()
                model.step(configuration)
                table, reported = expected(configuration, defaults, elide=elide, model=model)
                assert pipeline.table == table
                assert {problem.path for problem in pipeline.outstanding} == reported
                assert rotation.unknown == model.unknown
                panics = {(item.service, item.family): item.panic for item in pipeline.panics}
                assert {subject for subject, panic in panics.items() if panic} == model.panicking
                event(f"out: {not all(model.in_rotation.values())}, panic: {bool(model.panicking)}")
            case each, value:
                if value == "toggle":
                    value = None if each in configuration else beginning.get(each)
                pipeline.resolver.update(each, value)
                configuration.pop(each, None)
                configuration.update({} if value is None else {each: value})


@settings(max_examples=examples(150), deadline=None)
@given(beginnings, st.lists(verdicts, max_size=30), node_defaults, st.booleans(), st.data())
def test_nothing_is_kept_of_configuration_and_verdicts_that_were_revoked(
    configuration, given_verdicts, defaults, elide, data
):
    rotation = Rotation()
    pipeline = Pipeline.of(configuration, defaults, elide=elide, rotation=rotation)
    rotation.begin()
    ends = {(v[1], v[2], endpoint): v[6] for v in given_verdicts if (endpoint := named_endpoint(configuration, v))}
    for end, up in ends.items():
        rotation.put_verdict(*end, up)
    pipeline.flush()
    removals = data.draw(st.permutations([*configuration, *ends]))
    for removal in removals:
        if isinstance(removal, tuple):
            rotation.put_verdict(*removal, None)
        else:
            pipeline.resolver.update(removal, None)
        pipeline.flush()
    assert not pipeline.table.virtuals
    # what was out is remembered for a while
    pipeline.now += LONGEST
    pipeline.flush()
    rotation.standing()
    for part in (pipeline.resolver, pipeline.merger, rotation):
        assert left_behind(part) == {}
