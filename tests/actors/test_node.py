"""RouteResolver, BackendMerger and ConfigPublisher: the thin actors around what clusterf decides."""

import threading
from ipaddress import ip_address

import pytest

from actors.base.messages import Confirm, Ping, Reload
from actors.base.process import Host
from actors.config.config_publisher import ConfigPublisher
from actors.config.messages import SourceUpdate
from actors.director import ipvs_writer
from actors.director.backend_merger import BackendMerger
from actors.director.ipvs_writer import IpvsWriter, Options
from actors.director.messages import Credit, MergedUpdate, RemovalBegun
from actors.director.route_resolver import RouteResolver
from actors.link.messages import ProblemsAre, ProblemsKey, ValueIs, VerdictIs, deletion_of
from actors.link.publisher import Publisher
from actors.link.subscription import CREDIT
from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.config.model import Backend, BackendKey, FrontendKey, HealthCheck, HealthKey, RouteKey
from clusterf.config.problems import Problem, ProblemsOf
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from clusterf.director.virtual_servers import Defaults, virtual_servers
from clusterf.health.verdict import Verdict, VerdictKey
from clusterf.ipvs.table import Method, Op, RealServer, RealServerSettings, table_of
from clusterf.lib.addresses import Endpoint
from clusterf.lib.store import Store
from clusterf.reconcile.companions import Companions
from clusterf.reconcile.ownership import Ownership
from clusterf.sources.url import Source
from tests.actors.support.fake_kernel import FakeKernel
from tests.actors.support.recorder import subscribe
from tests.waiting import wait_until


def value(path, text):
    return decode("s", path, parse_key(path), text).value


FRONTEND = ValueIs(FrontendKey(b"web"), value(b"services/web/frontend", b'{"ipv4": "10.1.1.1", "tcp": 80}'))
RIVAL = ValueIs(FrontendKey(b"web2"), FRONTEND.value)


def backend(weight):
    raw = b'{"ipv4": "10.2.2.1", "tcp": 8080, "weight": %d}' % weight
    return ValueIs(BackendKey(b"web", b"1"), value(b"services/web/backends/1", raw))


def sources(count):
    return tuple(Source(f"file:///{number}", tree=f"/{number}") for number in range(count))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.sock"


@pytest.fixture
def chain(path, recorder_ref):
    """A configuration, as its publisher, that goes through all of the actors up to the recorder."""
    publisher = ConfigPublisher.start(sources(1), "", path)
    merger = BackendMerger.start(recorder_ref, elide=False)
    RouteResolver.start(path, Defaults(), merger)
    return publisher


def updates(recorder):
    """Return all updates that have come."""
    return [message for message in recorder.messages if isinstance(message, MergedUpdate)]


def items(recorder):
    return [item for update in updates(recorder) for item in update.items]


def test_a_configuration_becomes_what_is_wanted(chain, recorder):
    chain.tell(SourceUpdate(0, (FRONTEND, backend(7))))
    wait_until(lambda: len(items(recorder)) >= 2)
    first, second = items(recorder)
    assert isinstance(first, VirtualServerWanted)
    assert isinstance(second, RealServerWanted)
    assert second.settings.weight == 7
    assert not any(update.synced for update in updates(recorder))
    chain.tell(SourceUpdate(0, (), synced=True))
    wait_until(lambda: updates(recorder)[-1].synced)


def test_only_what_changed_is_wanted_anew(chain, recorder):
    chain.tell(SourceUpdate(0, (FRONTEND, backend(7)), synced=True))
    wait_until(lambda: len(items(recorder)) == 2)
    chain.tell(SourceUpdate(0, (backend(8),)))
    wait_until(lambda: len(items(recorder)) == 3)
    assert items(recorder)[-1].settings.weight == 8


def test_what_is_wrong_comes_along_with_what_is_wanted_and_is_logged_once(chain, recorder, caplog):
    problem = Problem("s", b"services/x/frontend", "", "bad", fatal=True)
    said = ProblemsAre(ProblemsKey("s", b"services/x/frontend"), (problem,))
    chain.tell(SourceUpdate(0, (FRONTEND, RIVAL, said), synced=True))
    wait_until(lambda: len([item for item in items(recorder) if isinstance(item, ProblemsOf)]) == 2)
    assert ProblemsOf(said.key, (problem,)) in items(recorder)
    assert caplog.text.count("belongs to service web") == 1
    assert "bad" not in caplog.text


@pytest.mark.parametrize("kind", [BackendMerger, ConfigPublisher, RouteResolver])
def test_a_ping_is_answered_a_reload_heard_and_nonsense_is_a_failure(kind, path, recorder_ref):
    ref = {
        BackendMerger: lambda: BackendMerger.start(recorder_ref, elide=False),
        ConfigPublisher: lambda: ConfigPublisher.start(sources(1), "", path),
        RouteResolver: lambda: RouteResolver.start(path, Defaults(), recorder_ref),
    }[kind]()
    ref.tell(Reload())
    ref.ask(Ping(), timeout=10)
    ref.tell("nonsense")
    wait_until(lambda: not ref.is_alive())


def test_an_actor_whose_receiver_has_stopped_does_not_fail(chain, recorder_ref, caplog):
    recorder_ref.stop()
    chain.tell(SourceUpdate(0, (FRONTEND,), synced=True))
    chain.ask(Ping(), timeout=10)
    assert "failed" not in caplog.text
    assert chain.is_alive()


# --- verdicts

AT = Endpoint(ip_address("10.2.2.1").packed, 8080)
TCP = ValueIs(HealthKey(b"web"), HealthCheck())
UP, DOWN = Verdict(up=True, since=1.0), Verdict(up=False, since=2.0, reason="refused")


def verdict(value, name=b"1", at=AT):
    return VerdictIs(VerdictKey(b"web", name, at), value)


class Director:
    """A chain with health processes, as publishers; `receiver` is told what is wanted."""

    def __init__(self, directory, receiver, processes=1, **options):
        sockets = [directory / f"health{number}.sock" for number in range(processes)]
        self.config = ConfigPublisher.start(sources(1), "", directory / "config.sock")
        self.health = [Publisher(socket) for socket in sockets]
        for publisher in self.health:
            publisher.start()
        self.recorder = receiver
        self.merger = BackendMerger.start(receiver, **{"elide": False, "health": sockets} | options)
        self.resolver = RouteResolver.start(directory / "config.sock", Defaults(), self.merger)

    def configure(self, *messages, synced=True):
        self.config.tell(SourceUpdate(0, messages, synced))
        return self

    def say(self, *verdicts, synced=True, process=0):
        self.health[process].publish(verdicts, synced=synced)
        return self

    def crash(self):
        """Have the health process come back, knowing nothing."""
        self.health[0].stop()
        self.health[0] = Publisher(self.health[0]._path)
        self.health[0].start()
        return self

    def heard(self):
        """Wait until all that the merger has been told so far is worked off."""
        self.merger.ask(Ping(), timeout=10)


@pytest.fixture
def direct(tmp_path, recorder_ref):
    """Start a director whose wishes are recorded."""
    directors = []

    def start(receiver=recorder_ref, **options):
        directors.append(Director(tmp_path, receiver, **options))
        return directors[-1]

    yield start
    for director in directors:
        for publisher in director.health:
            publisher.stop()


def weights(recorder):
    return [item.settings.weight for item in items(recorder) if isinstance(item, RealServerWanted)]


def is_whole(recorder):
    return any(update.synced for update in updates(recorder))


def test_a_verdict_says_which_weight_is_wanted_and_is_urgent(direct, recorder):
    director = direct().configure(FRONTEND, TCP, backend(7)).say(verdict(UP))
    wait_until(lambda: is_whole(recorder))
    wait_until(lambda: weights(recorder)[-1:] == [7])
    recorder.messages.clear()
    for what, said, weight, urgent in (
        *((director.say, verdict(DOWN), 0, True), (director.say, verdict(UP), 7, True)),
        *((director.configure, backend(9), 9, False), (director.say, verdict(DOWN), 0, True)),
    ):
        what(said)
        wait_until(lambda weight=weight: weights(recorder)[-1:] == [weight])
        assert updates(recorder)[-1].urgent is urgent


def test_nothing_is_whole_before_every_health_process_has_told_what_it_knows(direct, recorder):
    director = direct(processes=2).configure(FRONTEND, TCP, backend(7)).say(verdict(UP))
    wait_until(lambda: len(updates(recorder)) >= 2)
    director.say(verdict(UP))
    wait_until(lambda: weights(recorder)[-1:] == [7])
    director.heard()
    assert not is_whole(recorder)
    director.say(process=1)
    wait_until(lambda: is_whole(recorder))


def test_nothing_is_whole_before_the_configuration_is(direct, recorder):
    director = direct().say().configure(FRONTEND, synced=False)
    wait_until(lambda: len(updates(recorder)) >= 2)
    assert not is_whole(recorder)
    director.configure()
    wait_until(lambda: is_whole(recorder))


def test_with_once_nothing_is_whole_before_every_backend_has_its_verdict(direct, recorder):
    other = ValueIs(BackendKey(b"web", b"2"), value(b"services/web/backends/2", b'{"ipv4": "10.2.2.2", "tcp": 8080}'))
    director = direct(patience=60.0).configure(FRONTEND, TCP, backend(7), other).say(verdict(UP))
    wait_until(lambda: 7 in weights(recorder))
    director.heard()
    assert not is_whole(recorder)
    director.say(verdict(DOWN, b"2", Endpoint(ip_address("10.2.2.2").packed, 8080)))
    wait_until(lambda: is_whole(recorder))


def test_verdicts_are_waited_for_no_longer_than_there_is_patience(direct, recorder, caplog):
    direct(patience=0.2).configure(FRONTEND, TCP, backend(7)).say()
    wait_until(lambda: [update for update in updates(recorder) if update.synced])
    assert [r.getMessage() for r in caplog.records if r.name == "actors.director.backend_merger"] == [
        "health: starting without verdicts on 1 backends",
        "health: no verdict yet: web/1: 10.2.2.1:8080",
    ]


def test_with_once_what_is_not_checked_awaits_no_verdict(direct, recorder):
    direct(patience=60.0).configure(FRONTEND, backend(7)).say()
    wait_until(lambda: is_whole(recorder))


def test_without_health_processes_all_backends_count(direct, recorder):
    direct(health=()).configure(FRONTEND, TCP, backend(7))
    wait_until(lambda: is_whole(recorder))
    assert weights(recorder) == [7]


@pytest.mark.parametrize("remembered", [[], [DOWN]])
def test_a_health_process_that_crashes_changes_nothing(direct, recorder, remembered):
    director = direct().configure(FRONTEND, TCP, backend(7)).say(verdict(DOWN))
    wait_until(lambda: is_whole(recorder))
    wait_until(lambda: weights(recorder)[-1:] == [0])
    before, count = items(recorder), len(updates(recorder))
    director.crash().say(*map(verdict, remembered))
    wait_until(lambda: len(updates(recorder)) > count)
    director.heard()
    assert items(recorder) == before
    director.say(verdict(UP))
    wait_until(lambda: weights(recorder)[-1] == 7)


def test_a_config_process_that_crashes_changes_nothing(direct, recorder, tmp_path):
    director = direct().configure(FRONTEND, TCP, backend(7)).say(verdict(DOWN))
    wait_until(lambda: is_whole(recorder))
    wait_until(lambda: weights(recorder)[-1:] == [0])
    before, count = items(recorder), len(updates(recorder))
    director.config.stop()
    director.config = ConfigPublisher.start(sources(1), "", tmp_path / "config.sock")
    director.configure(FRONTEND, TCP, backend(7))
    wait_until(lambda: len(updates(recorder)) > count)
    director.heard()
    assert items(recorder) == before


def test_what_is_in_the_kernel_at_the_start_keeps_its_weight_until_there_is_a_verdict(direct, recorder):
    (virtual, _), *_ = virtual_servers(FRONTEND.value, Defaults())
    there = {RealServer(ip_address("10.2.2.1"), 8080): RealServerSettings(Method.MASQ, 3)}
    director = direct(in_force=lambda: table_of([(virtual, None, there)])).configure(FRONTEND, TCP, backend(7)).say()
    wait_until(lambda: is_whole(recorder))
    assert weights(recorder) == [7]
    director.say(verdict(DOWN))
    wait_until(lambda: weights(recorder) == [7, 0])


@pytest.mark.parametrize(("gone", "weight"), [(False, 7), (True, 0)])
def test_what_comes_back_before_its_virtual_server_is_gone_stands_as_it_did(direct, recorder, gone, weight):
    told = FRONTEND, TCP, backend(7)
    director = direct().configure(*told).say(verdict(UP))
    wait_until(lambda: is_whole(recorder))
    wait_until(lambda: weights(recorder)[-1:] == [7])
    virtual = items(recorder)[0].virtual
    director.configure(*(deletion_of(message.key) for message in told)).say(verdict(None))
    wait_until(lambda: items(recorder)[-1] == VirtualServerWanted(virtual, None))
    rotation = director.merger._actor_weakref()._rotation
    wait_until(lambda: not rotation._stray)
    if gone:
        director.merger.tell(RemovalBegun((virtual,)))
    director.configure(*told)
    wait_until(lambda: isinstance(items(recorder)[-1], RealServerWanted))
    assert weights(recorder)[-1] == weight


def held_frames(director, recorder):
    """Return how many frames have come through to the writer, once all is worked off that could be."""
    for actor in (director.resolver, director.merger, director.recorder):
        actor.ask(Ping(), timeout=10)
    return recorder.frames


def test_frames_on_their_way_to_the_writer_are_bounded_across_reconnects(direct, recorder, tmp_path):
    recorder.acknowledging = False
    director = direct(health=())
    for weight in range(1, 2 * CREDIT):
        director.configure(FRONTEND, TCP, backend(weight))
        wait_until(lambda weight=weight: held_frames(director, recorder) == min(weight, CREDIT))
    director.config.stop()
    director.config = ConfigPublisher.start(sources(1), "", tmp_path / "config.sock")
    director.configure(FRONTEND, TCP, backend(77))
    assert held_frames(director, recorder) == CREDIT
    recorder.acknowledging = True
    for _ in range(CREDIT):
        director.merger.tell(Credit("config"))
    wait_until(lambda: weights(recorder)[-1] == 77)


def test_frames_of_each_health_process_have_a_bound_of_their_own(direct, recorder):
    director = direct(processes=2).configure(FRONTEND, TCP, backend(7)).say(process=1)
    wait_until(lambda: len(updates(recorder)) >= 2)
    recorder.acknowledging = False
    before = recorder.frames
    for number in range(2 * CREDIT):
        director.say(verdict(DOWN if number % 2 else UP))
        wait_until(lambda n=number: held_frames(director, recorder) == before + min(n + 1, CREDIT))
    director.say(verdict(UP, b"2"), process=1)
    wait_until(lambda: recorder.frames == before + CREDIT + 1)
    director.merger.tell(Credit("health0"))
    wait_until(lambda: recorder.frames == before + CREDIT + 2)


def test_panic_is_entered_and_left_loudly(direct, recorder, caplog):
    check = ValueIs(HealthKey(b"web"), HealthCheck(panic_threshold=30))
    director = direct().configure(FRONTEND, check, backend(7)).say(verdict(DOWN))
    wait_until(lambda: "ignoring health" in caplog.text)
    wait_until(lambda: weights(recorder)[-1] == 7)
    director.say(verdict(UP))
    wait_until(lambda: "health applies again" in caplog.text)
    few = "1 of 1 backends (ipv4) are down, fewer than panic_threshold (30 %) are up: ignoring health"
    assert [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "actors.director.backend_merger"] == [
        ("ERROR", f"health: service web: {few}"),
        ("WARNING", "health: service web: 0 of 1 backends (ipv4) are down: health applies again"),
    ]


def test_a_health_process_that_says_what_it_should_not_is_a_failure(direct):
    director = direct().say(FRONTEND)
    wait_until(lambda: not director.merger.is_alive())


class SlowKernel(FakeKernel):
    """A kernel that writes nothing more, once it is told to hold, until it is let go."""

    def __init__(self):
        super().__init__()
        self.hold = threading.Event()
        self.held = threading.Event()
        self.go = threading.Event()

    def apply(self, steps):
        if self.hold.is_set():
            self.held.set()
            assert self.go.wait(30)
        return super().apply(steps)


def writing(kernel, **options):
    return IpvsWriter.start(kernel, Ownership(Store(None)), Companions(), Options(**options), Host(None, None))


TOLD = FRONTEND, TCP, backend(7)
MANY = [
    ValueIs(FrontendKey(b"s%d" % n), value(b"services/s/frontend", b'{"ipv4": "10.1.2.%d", "tcp": 80}' % n))
    for n in range(11)
]


def absences(*messages):
    return [deletion_of(message.key) for message in messages]


def weight_of(kernel):
    """Return the weight of the backend of `web`, None: it is not in the kernel."""
    found = [reals for virtual, reals in kernel.table.reals.items() if virtual.address == ip_address("10.1.1.1")]
    return next((settings.weight for reals in found for settings in reals.values()), None)


@pytest.mark.parametrize("last", [DOWN, None])
def test_a_backend_that_died_after_its_virtual_server_was_removed_comes_back_without_weight(direct, last):
    kernel = FakeKernel()
    director = direct(writing(kernel, removal_hold=1000.0)).configure(*TOLD, *MANY).say(verdict(UP))
    wait_until(lambda: weight_of(kernel) == 7)
    director.configure(*absences(*TOLD))
    wait_until(lambda: weight_of(kernel) is None)
    director.say(verdict(last))
    rotation = director.merger._actor_weakref()._rotation
    wait_until(lambda: list(rotation._stray.values()) == [False] * (last is DOWN))
    assert not rotation._departed
    kernel.steps.clear()
    director.configure(*TOLD)
    wait_until(lambda: weight_of(kernel) is not None)
    director.say(verdict(UP))
    wait_until(lambda: weight_of(kernel) == 7)
    assert [(step.op, step.settings.weight) for step in kernel.steps if step.real] == [
        *((Op.ADD_REAL, 0), (Op.EDIT_REAL, 7)),
    ]


def test_what_comes_back_while_its_removal_is_held_stands_as_it_did_and_nothing_is_written(direct, caplog):
    kernel = FakeKernel()
    writer = writing(kernel, removal_hold=1000.0)
    director = direct(writer).configure(*TOLD, *MANY).say(verdict(UP))
    wait_until(lambda: weight_of(kernel) == 7)
    steps = list(kernel.steps)
    director.configure(*absences(*TOLD, *MANY)).say(verdict(None))
    wait_until(lambda: "12 of 12 virtual servers would be removed at once: held" in caplog.text)
    rotation = director.merger._actor_weakref()._rotation
    wait_until(lambda: not rotation._stray)
    director.configure(*TOLD, *MANY)
    wait_until(lambda: "no longer held" in caplog.text)
    assert not rotation._departed
    director.configure(backend(8))
    wait_until(lambda: weight_of(kernel) == 8)
    assert kernel.steps[: len(steps)] == steps
    assert [(step.op, step.settings.weight) for step in kernel.steps[len(steps) :]] == [(Op.EDIT_REAL, 8)]


def test_when_a_hold_is_over_nothing_is_remembered(direct, caplog):
    kernel = FakeKernel()
    writer = writing(kernel, removal_hold=1000.0)
    director = direct(writer).configure(*TOLD, *MANY).say(verdict(UP))
    wait_until(lambda: weight_of(kernel) == 7)
    director.configure(*absences(*TOLD, *MANY)).say(verdict(None))
    wait_until(lambda: "12 of 12 virtual servers would be removed at once: held" in caplog.text)
    rotation = director.merger._actor_weakref()._rotation
    assert rotation._departed
    writer.tell(Confirm())
    wait_until(lambda: not kernel.table.virtuals)
    wait_until(lambda: not rotation._departed)
    director.configure(*TOLD)
    wait_until(lambda: weight_of(kernel) == 0)


@pytest.mark.parametrize(("on_down", "expected"), [("drain", Op.EDIT_REAL), ("remove", Op.REMOVE_REAL)])
def test_a_verdict_overtakes_ten_thousand_changes_of_the_configuration(direct, tmp_path, caplog, on_down, expected):
    caplog.set_level("WARNING")
    kernel = SlowKernel()
    writer = writing(kernel)
    count = 10_000
    names = [b"%d" % number for number in range(count)]
    bulk = [ValueIs(FrontendKey(b"bulk"), value(b"services/bulk/frontend", b'{"ipv4": "10.1.1.2", "tcp": 80}'))]
    many = [Backend(ipv4=ip_address("10.3.0.0") + number, tcp=80) for number in range(count)]
    check = ValueIs(HealthKey(b"web"), HealthCheck(on_down=on_down))
    director = direct(writer).say(verdict(UP))
    director.configure(FRONTEND, check, backend(7), *bulk)
    wait_until(lambda: len(kernel.steps) == 3)

    kernel.hold.set()
    director.configure(*(ValueIs(BackendKey(b"bulk", n), each) for n, each in zip(names, many, strict=True)))
    assert kernel.held.wait(30)
    # as much waits before the verdict as ever can
    wait_until(lambda: writer.actor_inbox.qsize() == CREDIT)
    director.say(verdict(DOWN))
    wait_until(lambda: writer.actor_inbox.qsize() == CREDIT + 1)
    kernel.go.set()
    wait_until(lambda: len(kernel.steps) == 3 + count + 1, timeout=60)
    failed = RealServer(ip_address("10.2.2.1"), 8080)
    place, step = next((at, step) for at, step in enumerate(kernel.steps[3:]) if step.real == failed)
    assert step.op is expected
    assert place <= 2 * ipvs_writer.PART


@pytest.fixture
def published(path, recorder_ref):
    """What a publisher of two sources says, and that publisher."""
    ref = ConfigPublisher.start(sources(2), "file:///0", path)
    subscription = subscribe(path, recorder_ref)
    yield ref
    subscription.stop()


def test_all_is_told_when_all_sources_have_told_all(published, recorder):
    published.tell(SourceUpdate(0, (backend(1),), synced=True))
    wait_until(lambda: recorder.state)
    assert not recorder.syncs
    published.tell(SourceUpdate(1, (), synced=True))
    wait_until(lambda: recorder.syncs)


def test_a_later_source_wins_by_key_and_the_earlier_one_is_fallen_back_to(published, recorder):
    key = BackendKey(b"web", b"1")
    published.tell(SourceUpdate(1, (backend(2),), synced=True))
    published.tell(SourceUpdate(0, (backend(1),), synced=True))
    wait_until(lambda: recorder.syncs)
    assert recorder.state[key] == backend(2)
    published.tell(SourceUpdate(1, (ValueIs(BackendKey(b"web", b"1"), None),)))
    wait_until(lambda: recorder.state.get(key) == backend(1))
    published.tell(SourceUpdate(0, (ValueIs(BackendKey(b"web", b"1"), None),)))
    wait_until(lambda: key not in recorder.state)


def test_routes_are_taken_only_from_the_sources_chosen(published, recorder):
    route = value(b"routes/r", b'{"Prefix": "10.0.0.0/8"}')
    published.tell(SourceUpdate(1, (ValueIs(RouteKey(b"no"), route), backend(1)), synced=True))
    published.tell(SourceUpdate(0, (ValueIs(RouteKey(b"yes"), route),), synced=True))
    wait_until(lambda: recorder.syncs)
    assert recorder.state.keys() == {RouteKey(b"yes"), BackendKey(b"web", b"1")}
