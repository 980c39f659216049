import threading
from ipaddress import ip_address

import pytest

from actors.base.messages import Confirm, Ping, Reload
from actors.base.process import Host
from actors.config.config_publisher import ConfigPublisher
from actors.director import ipvs_writer
from actors.director.backend_merger import BackendMerger
from actors.director.ipvs_writer import IpvsWriter, Options
from actors.director.messages import Credit
from actors.director.route_resolver import RouteResolver
from actors.link.messages import ValueIs, deletion_of
from actors.link.subscription import CREDIT
from clusterf.config.model import Backend, BackendKey, FrontendKey, HealthCheck, HealthKey
from clusterf.director.removal_hold import HoldPolicy
from clusterf.ipvs.table import Op, RealServer
from clusterf.lib.store import Store
from clusterf.reconcile.companions import Companions
from clusterf.reconcile.ownership import Ownership
from clusterf.resolve.virtual_servers import Defaults
from tests.actors.support.director import (
    DOWN,
    FRONTEND,
    TCP,
    UP,
    backend,
    sources,
    updates,
    value,
    verdict,
    weights,
)
from tests.actors.support.fake_kernel import FakeKernel
from tests.waiting import wait_until


@pytest.mark.parametrize("kind", [BackendMerger, ConfigPublisher, RouteResolver])
def test_actors_answer_pings_accept_reloads_and_fail_on_unknown_messages(kind, links, recorder_ref):
    ref = {
        BackendMerger: lambda: BackendMerger.start(recorder_ref, links, elide=False),
        ConfigPublisher: lambda: ConfigPublisher.start(sources(1), "", links),
        RouteResolver: lambda: RouteResolver.start(links, Defaults(), recorder_ref),
    }[kind]()
    ref.tell(Reload())
    ref.ask(Ping(), timeout=10)
    ref.tell("nonsense")
    wait_until(lambda: not ref.is_alive())


def held_frames(director, recorder):
    """Return the number of frames that the writer has, once all actors have handled their messages."""
    for actor in (director.resolver, director.merger, director.recorder):
        actor.ask(Ping(), timeout=10)
    return recorder.frames


def test_frames_on_their_way_to_the_writer_are_bounded_across_reconnects(direct, recorder, links):
    recorder.acknowledging = False
    director = direct(health=())
    for weight in range(1, 2 * CREDIT):
        director.configure(FRONTEND, TCP, backend(weight))
        wait_until(lambda weight=weight: held_frames(director, recorder) == min(weight, CREDIT))
    director.config.stop()
    director.config = ConfigPublisher.start(sources(1), "", links)
    director.configure(FRONTEND, TCP, backend(77))
    assert held_frames(director, recorder) == CREDIT
    recorder.acknowledging = True
    for _ in range(CREDIT):
        director.merger.tell(Credit("config"))
    wait_until(lambda: weights(recorder)[-1] == 77)


def test_frames_of_each_health_process_have_a_bound_of_their_own(direct, recorder):
    director = direct(processes=2).configure(FRONTEND, TCP, backend(7)).publish(process=1)
    wait_until(lambda: len(updates(recorder)) >= 2)
    recorder.acknowledging = False
    before = recorder.frames
    for number in range(2 * CREDIT):
        director.publish(verdict(DOWN if number % 2 else UP))
        wait_until(lambda n=number: held_frames(director, recorder) == before + min(n + 1, CREDIT))
    director.publish(verdict(UP, b"2"), process=1)
    wait_until(lambda: recorder.frames == before + CREDIT + 1)
    director.merger.tell(Credit("health0"))
    wait_until(lambda: recorder.frames == before + CREDIT + 2)


class SlowKernel(FakeKernel):
    """A kernel whose writes wait between `hold` and `go`."""

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
    return IpvsWriter.start(kernel, Ownership(Store(None)), Companions(), Options(**options), Host(None, None, None))


SERVICE = FRONTEND, TCP, backend(7)
MANY = [
    ValueIs(FrontendKey(b"s%d" % n), value(b"services/s/frontend", b'{"ipv4": "10.1.2.%d", "tcp": 80}' % n))
    for n in range(11)
]


def deletions(*messages):
    return [deletion_of(message.key) for message in messages]


def weight_of(kernel):
    """Return the weight of the backend of `web`, None: it is not in the kernel."""
    found = [reals for virtual, reals in kernel.table.reals.items() if virtual.address == ip_address("10.1.1.1")]
    return next((settings.weight for reals in found for settings in reals.values()), None)


@pytest.mark.parametrize("last", [DOWN, None])
def test_backend_that_fails_after_its_virtual_server_was_removed_comes_back_with_weight_zero(direct, last):
    kernel = FakeKernel()
    director = direct(writing(kernel), hold=HoldPolicy(1000.0)).configure(*SERVICE, *MANY).publish(verdict(UP))
    wait_until(lambda: weight_of(kernel) == 7)
    director.configure(*deletions(*SERVICE))
    wait_until(lambda: weight_of(kernel) is None)
    director.publish(verdict(last))
    rotation = director.merger._actor_weakref()._rotation
    wait_until(lambda: [probe.up for probe in rotation._pools._stray.values()] == [False] * (last is DOWN))
    kernel.steps.clear()
    director.configure(*SERVICE)
    wait_until(lambda: weight_of(kernel) is not None)
    director.publish(verdict(UP))
    wait_until(lambda: weight_of(kernel) == 7)
    assert [(step.op, step.settings.weight) for step in kernel.steps if step.real] == [
        *((Op.ADD_REAL, 0), (Op.EDIT_REAL, 7)),
    ]


def test_nothing_is_written_for_services_restored_during_the_removal_hold(direct, caplog):
    kernel = FakeKernel()
    director = direct(writing(kernel), hold=HoldPolicy(1000.0)).configure(*SERVICE, *MANY).publish(verdict(UP))
    wait_until(lambda: weight_of(kernel) == 7)
    steps = list(kernel.steps)
    director.configure(*deletions(*SERVICE, *MANY)).publish(verdict(None))
    wait_until(lambda: "12 of 12 virtual servers would be removed at once: held" in caplog.text)
    rotation = director.merger._actor_weakref()._rotation
    wait_until(lambda: not rotation._pools._stray)
    director.configure(*SERVICE, *MANY)
    wait_until(lambda: "no longer held" in caplog.text)
    director.configure(backend(8))
    wait_until(lambda: weight_of(kernel) == 8)
    assert kernel.steps[: len(steps)] == steps
    assert [(step.op, step.settings.weight) for step in kernel.steps[len(steps) :]] == [(Op.EDIT_REAL, 8)]


def test_backends_are_new_after_a_confirmed_removal(direct, caplog):
    kernel = FakeKernel()
    director = direct(writing(kernel), hold=HoldPolicy(1000.0)).configure(*SERVICE, *MANY).publish(verdict(UP))
    wait_until(lambda: weight_of(kernel) == 7)
    director.configure(*deletions(*SERVICE, *MANY)).publish(verdict(None))
    wait_until(lambda: "12 of 12 virtual servers would be removed at once: held" in caplog.text)
    director.merger.tell(Confirm())
    wait_until(lambda: not kernel.table.virtuals)
    director.configure(*SERVICE)
    wait_until(lambda: weight_of(kernel) == 0)


@pytest.mark.parametrize(("on_down", "expected"), [("drain", Op.EDIT_REAL), ("remove", Op.REMOVE_REAL)])
def test_verdict_overtakes_ten_thousand_changes_of_the_configuration(direct, tmp_path, caplog, on_down, expected):
    caplog.set_level("WARNING")
    kernel = SlowKernel()
    writer = writing(kernel)
    count = 10_000
    names = [b"%d" % number for number in range(count)]
    bulk = [ValueIs(FrontendKey(b"bulk"), value(b"services/bulk/frontend", b'{"ipv4": "10.1.1.2", "tcp": 80}'))]
    many = [Backend(ipv4=ip_address("10.3.0.0") + number, tcp=80) for number in range(count)]
    check = ValueIs(HealthKey(b"web"), HealthCheck(on_down=on_down))
    director = direct(writer).publish(verdict(UP))
    director.configure(FRONTEND, check, backend(7), *bulk)
    wait_until(lambda: len(kernel.steps) == 3)

    kernel.hold.set()
    director.configure(*(ValueIs(BackendKey(b"bulk", n), each) for n, each in zip(names, many, strict=True)))
    assert kernel.held.wait(30)
    # as many frames wait before the verdict as possible
    wait_until(lambda: writer.actor_inbox.qsize() == CREDIT)
    director.publish(verdict(DOWN))
    wait_until(lambda: writer.actor_inbox.qsize() == CREDIT + 1)
    kernel.go.set()
    wait_until(lambda: len(kernel.steps) == 3 + count + 1, timeout=60)
    failed = RealServer(ip_address("10.2.2.1"), 8080)
    place, step = next((at, step) for at, step in enumerate(kernel.steps[3:]) if step.real == failed)
    assert step.op is expected
    assert place <= 2 * ipvs_writer.PART
