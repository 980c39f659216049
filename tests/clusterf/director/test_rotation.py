from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import cycle

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, Route, RouteKey
from clusterf.director.merger import RealServerWanted
from clusterf.director.rotation import PanicMode, Rotation
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, Table, table_of
from clusterf.lib.addresses import Endpoint, Family
from tests.clusterf.support.left_behind import left_behind
from tests.clusterf.support.pipeline import NODE, Pipeline
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

VIP, VIP6 = IPv4Address("198.51.100.1"), IPv6Address("fd00:ff::1")
WEB = Frontend(ipv4=VIP, tcp=80)
F, H = FrontendKey(b"web"), HealthKey(b"web")
TCP, UP_AT_FIRST, REMOVES = HealthCheck(), HealthCheck(initial="up"), HealthCheck(on_down="remove")
UNCHECKED = HealthCheck(type="none")


def key(number):
    return BackendKey(b"web", b"%d" % number)


def backend(number, **fields):
    return Backend(**{"ipv4": IPv4Address("10.0.0.0") + number, "tcp": 8080} | fields)


def at(number, port=8080):
    return Endpoint((IPv4Address("10.0.0.0") + number).packed, port)


def service(*numbers, frontend=WEB, **fields):
    return {F: frontend} | {key(number): backend(number, **fields) for number in numbers}


class Director:
    """A pipeline that heeds health, and a short way to say what happens."""

    def __init__(self, configuration, in_force=Table, *, begun=True, elide=False):
        self.rotation = Rotation(in_force)
        self.pipeline = Pipeline(elide=elide, rotation=self.rotation)
        self.put(configuration)
        if begun:
            self.begin()

    def begin(self):
        self.rotation.begin()
        self.pipeline.flush()

    def put(self, configuration):
        """Update these objects, and return what was merged."""
        for each, value in configuration.items():
            self.pipeline.resolver.update(each, value)
        return self.pipeline.flush()[1]

    def say(self, verdicts, port=8080, at=at):
        """Say of these backends what they are, by number, and return what was merged."""
        for number, up in verdicts.items():
            self.rotation.put_verdict(b"web", b"%d" % number, at(number, port), up)
        return self.pipeline.flush()[1]

    @property
    def weights(self):
        """The weights of the real servers of the one virtual server, by the last number of their address."""
        ((_, reals),) = self.pipeline.table.reals.items()
        return {int(real.address) & 0xFF: settings.weight for real, settings in reals.items()}


def virtuals(frontend):
    return Pipeline.of({F: frontend}).table.virtuals


@pytest.mark.parametrize(("check", "weight"), [(TCP, 0), (UP_AT_FIRST, 10), (UNCHECKED, 10)])
def test_a_new_backend_stands_as_its_check_says(check, weight):
    director = Director({H: check})
    director.put(service(1))
    assert director.weights == {1: weight}


def test_a_verdict_says_who_stands():
    director = Director({H: TCP} | service(1, 2))
    director.say({1: True, 2: False})
    assert director.weights == {1: 10, 2: 0}
    director.say({1: False, 2: True})
    assert director.weights == {1: 0, 2: 10}


def test_no_verdict_changes_nothing():
    director = Director({H: TCP} | service(1, 2))
    director.say({1: True, 2: False})
    assert director.say({1: None, 2: None}) == []
    assert director.weights == {1: 10, 2: 0}


@pytest.mark.parametrize("default", [True, False])
def test_a_check_that_comes_to_a_live_service_changes_nothing_before_a_verdict(default):
    director = Director(service(1, 2))
    assert [type(item) for item in director.put({HealthKey(None) if default else H: TCP})] == []
    assert director.weights == {1: 10, 2: 10}
    director.say({1: False})
    assert director.weights == {1: 0, 2: 10}


@pytest.mark.parametrize("gone", [{H: None}, {H: UNCHECKED}])
def test_without_a_check_all_stand_again(gone):
    director = Director({H: TCP} | service(1, 2))
    director.say({1: False})
    director.put(gone)
    assert director.weights == {1: 10, 2: 10}
    director.put({H: TCP})
    assert director.weights == {1: 0, 2: 10}, "what was said of the endpoint still holds"


def test_type_none_overrides_the_default_check():
    director = Director({HealthKey(None): TCP, H: UNCHECKED} | service(1))
    assert director.weights == {1: 10}
    director.put({H: None})
    director.put({key(2): backend(2)})
    assert director.weights == {1: 10, 2: 0}


def test_a_changed_check_port_changes_nothing_before_there_are_verdicts_for_it():
    director = Director({H: TCP} | service(1, 2))
    director.say({1: True, 2: False})
    director.put({H: HealthCheck(port=9000)})
    assert director.weights == {1: 10, 2: 0}
    director.say({1: False, 2: True})
    assert director.weights == {1: 10, 2: 0}, "verdicts for another endpoint"
    director.say({1: False, 2: True}, port=9000)
    assert director.weights == {1: 0, 2: 10}


def test_a_verdict_that_comes_before_its_configuration_counts_when_that_is_there():
    director = Director({H: TCP})
    director.say({1: True, 2: False})
    director.put(service(1, 2, weight=7))
    assert director.weights == {1: 7, 2: 0}


def test_a_verdict_that_is_taken_back_before_its_configuration_does_not_count():
    director = Director({H: TCP})
    director.say({1: True})
    director.say({1: None})
    director.put(service(1))
    assert director.weights == {1: 0}


def test_a_verdict_that_is_taken_back_is_forgotten_wherever_it_came_from():
    director = Director({H: TCP})
    director.say({1: True})
    director.put(service(1))
    director.say({1: None})
    director.put({key(1): None})
    director.put({key(1): backend(1)})
    assert director.weights == {1: 0}


def test_a_backend_with_another_address_is_a_new_real_server():
    director = Director({H: TCP} | service(1))
    director.say({1: True})
    director.put({key(1): backend(9)})
    assert director.weights == {9: 0}
    director.put({key(1): backend(1)})
    assert director.weights == {1: 10}, "its verdict has not been taken back"


def test_a_backend_that_comes_back_is_new():
    director = Director({H: TCP} | service(1, 2))
    director.say({1: True, 2: True})
    director.put({key(1): None})
    director.say({1: None})
    director.put({key(1): backend(1)})
    assert director.weights == {1: 0, 2: 10}


WIPED = dict.fromkeys([F, H, key(1), key(2)])


@pytest.mark.parametrize(("gone", "weights"), [(False, {1: 10, 2: 0}), (True, {1: 0, 2: 0})])
def test_what_comes_back_before_its_virtual_server_is_gone_stands_as_it_did(gone, weights):
    director = Director({H: TCP} | service(1, 2))
    director.say({1: True, 2: False})
    director.put(WIPED)
    director.say({1: None, 2: None})
    for virtual in virtuals(WEB) if gone else virtuals(Frontend(ipv4=VIP, tcp=81)):
        director.rotation.forget_departed(virtual)
    director.put({H: TCP} | service(1, 2))
    assert director.weights == weights


def test_to_be_told_late_that_a_virtual_server_went_harms_nobody_who_is_back():
    director = Director({H: TCP} | service(1, 2))
    director.say({1: True, 2: False})
    director.put(WIPED)
    director.put({H: TCP} | service(1, 2))
    (virtual,) = virtuals(WEB)
    director.rotation.forget_departed(virtual)
    assert director.say({1: None, 2: None}) == []
    assert director.weights == {1: 10, 2: 0}


def test_who_is_not_back_together_with_its_virtual_server_is_new():
    director = Director({H: TCP} | service(1, 2))
    director.say({1: True, 2: True})
    director.put(WIPED)
    director.say({1: None, 2: None})
    director.put({H: TCP} | service(1))
    director.put({key(2): backend(2)})
    assert director.weights == {1: 10, 2: 0}


def test_when_another_service_takes_the_virtual_server_over_who_was_there_is_new():
    rival, there = FrontendKey(b"x"), service(1, 2)
    director = Director({H: TCP} | there)
    director.say({1: True, 2: True})
    director.put(WIPED)
    director.put({rival: WEB})
    director.say({1: None, 2: None})
    director.put({H: TCP, rival: None} | there)
    assert director.weights == {1: 0, 2: 0}


def test_who_went_from_a_virtual_server_of_another_service_is_new():
    rival, there = FrontendKey(b"a"), service(1, 2)
    director = Director({H: TCP, rival: WEB} | there)
    director.say({1: True, 2: True})
    director.put({rival: None} | WIPED)
    director.say({1: None, 2: None})
    director.put({H: TCP} | there)
    assert director.weights == {1: 0, 2: 0}


def test_what_comes_back_elsewhere_with_its_virtual_server_is_new():
    director = Director({H: TCP} | service(1))
    director.say({1: True})
    director.put({F: None})
    director.put({F: WEB, key(1): backend(9)})
    assert director.weights == {9: 0}


def test_a_changed_weight_takes_nobody_in_or_out():
    director = Director({H: TCP} | service(1, 2))
    director.say({1: True, 2: False})
    director.put({key(1): backend(1, weight=20), key(2): backend(2, weight=20)})
    assert director.weights == {1: 20, 2: 0}
    director.say({2: True})
    assert director.weights == {1: 20, 2: 20}


def kernel(**weights):
    """Return how to read a table that has the service, with these weights of its real servers."""
    ((virtual, settings),) = Pipeline.of({F: WEB}).table.virtuals.items()
    reals = {
        RealServer(IPv4Address("10.0.0.0") + int(number[1:]), 8080): RealServerSettings(Method.MASQ, weight)
        for number, weight in weights.items()
    }
    return lambda: table_of([(virtual, settings, reals)])


@pytest.mark.parametrize(("check", "new"), [(TCP, 0), (UP_AT_FIRST, 10)])
def test_what_is_in_the_kernel_at_the_start_stands_as_it_does_there(check, new):
    director = Director({H: check} | service(1, 2, 3), kernel(n1=4, n2=0))
    assert director.weights == {1: 10, 2: 0, 3: new}
    director.say({1: False, 2: True})
    assert director.weights == {1: 0, 2: 10, 3: new}


def test_what_is_in_the_kernel_counts_at_the_start_alone():
    director = Director({H: TCP} | service(1), kernel(n1=10, n2=10))
    director.put({key(2): backend(2)})
    assert director.weights == {1: 10, 2: 0}


def test_before_the_start_is_over_nothing_has_a_standing():
    director = Director({H: UP_AT_FIRST} | service(1, 2), kernel(n1=10), begun=False)
    director.put({H: TCP})
    director.say({1: False})
    director.say({1: None})
    director.begin()
    assert director.weights == {1: 10, 2: 0}


def test_the_kernel_is_not_read_for_what_is_not_checked():
    def never():
        raise AssertionError("read")

    assert Director(service(1), never).weights == {1: 10}


def test_the_kernel_is_read_once():
    reads = []
    in_force = kernel(n1=10)
    Director({H: TCP} | service(1, 2, 3), lambda: reads.append(1) or in_force())
    assert reads == [1]


def test_to_remove_is_to_leave_out_who_is_down_and_a_changed_effect_counts_at_once():
    director = Director({H: REMOVES} | service(1, 2))
    director.say({1: True, 2: False})
    assert director.weights == {1: 10}
    assert len(director.put({H: TCP})) == 1
    assert director.weights == {1: 10, 2: 0}
    director.put({H: REMOVES})
    assert director.weights == {1: 10}
    director.put({H: None})
    assert director.weights == {1: 10, 2: 10}


@pytest.mark.parametrize("elide", [False, True])
def test_a_virtual_server_of_which_all_are_left_out_stays(elide):
    director = Director({H: REMOVES} | service(1), elide=elide)
    director.say({1: False})
    assert director.weights == {}
    director.put({key(1): None})
    assert len(director.pipeline.table.virtuals) == (0 if elide else 1)


GATEWAY = {RouteKey(b"r"): Route(gateway4=IPv4Address("10.9.0.9"), prefix4=ip_network("10.0.0.0/24"), method="tunnel")}


@pytest.mark.parametrize(("check", "nobody"), [(TCP, {9: 0}), (REMOVES, {})])
def test_at_a_gateway_those_count_that_stand(check, nobody):
    director = Director(GATEWAY | {H: check} | service(1, 2, 3))
    assert director.weights == nobody
    director.say({1: True, 2: True, 3: False})
    assert director.weights == {9: 20}
    director.say({1: False, 2: False})
    assert director.weights == nobody


def test_each_family_has_its_own_verdict():
    frontend = Frontend(ipv4=VIP, ipv6=VIP6, tcp=80, udp=80)
    director = Director({H: TCP, F: frontend, key(1): backend(1, ipv6=IPv6Address("fd00::1"), udp=80)})
    director.say({1: True})
    reals = director.pipeline.table.reals
    assert {str(virtual): [s.weight for s in settings.values()] for virtual, settings in reals.items()} == {
        "198.51.100.1:80/tcp": [10],
        "198.51.100.1:80/udp": [10],
        "[fd00:ff::1]:80/tcp": [0],
        "[fd00:ff::1]:80/udp": [0],
    }


# --- panic

PANICS = HealthCheck(panic_threshold=40, initial="up")


def said(panic, down, total):
    return PanicMode(b"web", Family.IPV4, panic, down, total, 40.0)


def test_when_too_few_are_up_health_is_ignored_until_enough_are():
    director = Director({H: PANICS} | service(1, 2, 3, 4, 5))
    director.say({1: False, 2: False, 3: False})
    assert director.weights == {1: 0, 2: 0, 3: 0, 4: 10, 5: 10}
    assert director.pipeline.panics == [], "40 % is not less than 40 %"
    director.say({4: False})
    assert director.weights == dict.fromkeys(range(1, 6), 10)
    assert director.pipeline.panics == [said(True, 4, 5)]
    director.say({5: False})
    director.say({1: True})
    director.say({2: True})
    assert director.weights == {1: 10, 2: 10, 3: 0, 4: 0, 5: 0}
    assert director.pipeline.panics[1:] == [said(False, 3, 5)]


def test_a_panic_takes_in_nobody_of_whom_nothing_is_known():
    director = Director({H: HealthCheck(panic_threshold=90)} | service(1, 2))
    director.say({1: False})
    assert director.weights == {1: 10, 2: 0}


def test_what_counted_in_a_panic_still_does_when_its_verdict_is_lost():
    director = Director({H: PANICS} | service(1, 2))
    director.say({1: False, 2: False})
    assert director.say({1: None, 2: None}) == [said(False, 0, 2)]
    assert director.weights == {1: 10, 2: 10}


@pytest.mark.parametrize("other", [UP_AT_FIRST, HealthCheck(panic_threshold=20, initial="up")])
def test_a_changed_threshold_counts_at_once(other):
    director = Director({H: other} | service(1, 2, 3))
    director.say({1: False, 2: False})
    assert director.weights == {1: 0, 2: 0, 3: 10}
    director.put({H: PANICS})
    assert director.weights == {1: 10, 2: 10, 3: 10}
    director.put({H: other})
    assert director.weights == {1: 0, 2: 0, 3: 10}
    assert [item.panic for item in director.pipeline.panics] == [True, False]


def test_a_service_that_goes_leaves_its_panic():
    director = Director({H: PANICS} | service(1, 2))
    director.say({1: False, 2: False})
    director.put({F: None})
    assert [item.panic for item in director.pipeline.panics] == [True, False]


def test_at_the_start_a_panic_is_told_once_and_not_before_all_is_known():
    director = Director({H: PANICS} | service(1, 2, 3), begun=False)
    director.say({1: False, 2: False})
    director.say({3: True})
    director.say({2: True})
    assert director.pipeline.panics == []
    director.say({2: False})
    director.begin()
    assert director.pipeline.panics == [said(True, 2, 3)]
    assert director.weights == {1: 10, 2: 10, 3: 10}


# --- who is awaited


def test_what_is_unknown_is_counted_by_backend_and_family():
    frontend = Frontend(ipv4=VIP, ipv6=VIP6, tcp=80, udp=80)
    director = Director({H: TCP} | service(1, 2, frontend=frontend, ipv6=IPv6Address("fd00::1"), udp=80))
    assert director.rotation.unknown == 4
    director.say({1: True, 2: False})
    assert director.rotation.unknown == 2
    director.say({1: None})
    assert director.rotation.unknown == 3
    director.put({H: UNCHECKED})
    assert director.rotation.unknown == 0


# --- laws

FLUSH, BEGIN, GONE = "flush", "begin", "gone"
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
controls = st.sampled_from([FLUSH, FLUSH, FLUSH, *[(GONE, number) for number in range(4)]])
# (each kind of update has the same chance as each of these)
changes = st.one_of(*[verdicts] * 10, updates, *[toggles] * 2, *[controls] * 6)
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
    """Return the endpoint that a verdict of a history is about: as it was drawn, or else the backend's own."""
    _, service, backend, family, address, port, _ = change
    of = configuration.get(BackendKey(service, backend))
    address, port = address or getattr(of, family, None), port or getattr(of, "tcp", None)
    return Endpoint(address.packed, port) if address and port else None


@settings(max_examples=400, deadline=None)
@given(beginnings, histories, weights_in_force, node_defaults, st.booleans())
def test_any_history_of_verdicts_and_configuration_ends_as_the_plain_model_says(
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
            case "gone", number:
                # one that may have gone, or that is wanted and was told to have gone too late
                known = sorted({virtual for _, _, virtual in model.departed} | set(model.owners), key=str)
                for virtual in known[number : number + 1]:
                    rotation.forget_departed(virtual)
                    model.forget_departed([virtual])
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
                event(f"fallen: {sum(not s for s in model.in_rotation.values()) > 0}, panic: {bool(model.panicking)}")
            case each, value:
                if value == "toggle":
                    value = None if each in configuration else beginning.get(each)
                pipeline.resolver.update(each, value)
                configuration.pop(each, None)
                configuration.update({} if value is None else {each: value})


@settings(max_examples=150, deadline=None)
@given(beginnings, st.lists(verdicts, max_size=30), node_defaults, st.booleans(), st.data())
def test_what_is_all_taken_back_leaves_nothing_behind(configuration, told, defaults, elide, data):
    rotation = Rotation()
    pipeline = Pipeline.of(configuration, defaults, elide=elide, rotation=rotation)
    rotation.begin()
    ends = {(v[1], v[2], endpoint): v[6] for v in told if (endpoint := named_endpoint(configuration, v))}
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
    assert pipeline.reconciler.next_steps(1, 0.0, lambda _: {}) == []
    for virtual in pipeline.reconciler.owned.take_departed():
        rotation.forget_departed(virtual)
    assert not pipeline.table.virtuals
    for part in (pipeline.resolver, pipeline.merger, rotation):
        assert left_behind(part) == {}


# --- work is proportional to the change


@pytest.mark.parametrize("count", [10, 1000])
@pytest.mark.parametrize("elide", [False, True])
def test_one_verdict_is_one_real_server_at_any_scale(count, elide):
    director = Director({H: TCP} | service(*range(1, count + 1)), elide=elide)
    director.say(dict.fromkeys(range(1, count + 1), True))
    for up in (False, True):
        (item,) = director.say({7: up})
        assert item == RealServerWanted(item.virtual, RealServer(IPv4Address("10.0.0.7"), 8080), item.settings)
        assert item.settings.weight == (10 if up else 0)
        assert director.say({7: up}) == []


def test_verdicts_that_are_told_again_are_no_news():
    director = Director({H: TCP} | service(*range(1, 100)))
    everyone = {number: number % 3 > 0 for number in range(1, 100)}
    director.say(everyone)
    assert director.say(everyone) == []


def test_one_verdict_of_many_at_a_gateway_is_one_real_server():
    director = Director(GATEWAY | {H: TCP} | service(*range(1, 200)))
    director.say(dict.fromkeys(range(1, 200), True))
    (item,) = director.say({7: False})
    assert item.settings.weight == 1980


def test_a_panic_concerns_those_only_that_are_down():
    director = Director({H: HealthCheck(panic_threshold=50)} | service(*range(1, 101)))
    director.say({number: number > 50 for number in range(1, 101)})
    news = director.say({51: False})
    assert news[0].panic
    assert {int(item.real.address) & 0xFF for item in news[1:]} == set(range(1, 51))
    assert all(item.settings.weight == 10 for item in news[1:])


def test_a_verdict_moves_nothing_of_a_service_that_owns_no_virtual_server():
    director = Director({FrontendKey(b"a"): WEB, H: TCP} | service(1))
    assert director.say({1: True}) == []


def test_health_is_ignored_without_rotation():
    pipeline = Pipeline.of({H: TCP} | service(1), NODE)
    assert [s.weight for reals in pipeline.table.reals.values() for s in reals.values()] == [10]
