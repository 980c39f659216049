"""KeyPublisher and a lease keeper that only records; against a real etcd it is tested in `tests/system/etcd`."""

import logging
import threading

import pytest

from actors.base.messages import Leave, Reload
from actors.docker import key_publisher
from actors.docker.key_publisher import EngineIs, Found, KeyPublisher, Publish, PublishOnly, TellFound
from clusterf.etcd.location import EtcdLocation
from clusterf.leases.lease_file import NO_MACHINE
from tests.waiting import wait_until

LOCATION = EtcdLocation(endpoints=("127.0.0.1:2379",), prefix=b"/clusterf/")


class FakeKeeper:
    """Records the calls to a lease keeper; `run` lasts until `stop`."""

    def __init__(self, *settings, claims):
        *settings, self.on_found = settings
        self.calls = [tuple(settings)]
        self.stopping = threading.Event()
        self.error = None

    def run(self):
        self.stopping.wait(10)
        if self.error:
            raise self.error

    def stop(self):
        self.calls.append("stop")
        self.stopping.set()

    def check(self):
        self.calls.append("check")

    def withdraw(self):
        self.calls.append("withdraw")

    def identify(self, engine):
        self.calls.append(engine)

    def want(self, *change):
        self.calls.append(change)

    def want_only(self, *keys):
        self.calls.append(keys)


@pytest.fixture
def start(monkeypatch):
    """Start a publisher; return it and its lease keeper."""
    monkeypatch.setattr(key_publisher, "LeaseKeeper", FakeKeeper)

    def start(**options):
        ref = KeyPublisher.start(LOCATION, 10, None, **options)
        return ref, ref._actor_weakref()._keeper

    return start


def test_keys_are_passed_to_the_lease_keeper(start):
    ref, keeper = start()
    for message in (PublishOnly({b"a": b"1"}), Publish(b"a", None), Publish(b"c", b"4")):
        ref.tell(message)
    ref.tell(EngineIs("E"))
    ref.tell(Reload())
    ref.stop(timeout=10)
    assert keeper.calls == [
        (LOCATION, 10, None, NO_MACHINE),
        ({b"a": b"1"},),
        (b"a", None),
        (b"c", b"4"),
        "E",
        "check",
        "stop",
    ]


@pytest.mark.parametrize(("leave_nothing", "calls"), [(False, [(b"a", b"1")]), (True, ["withdraw"])])
def test_leaving_withdraws_all_keys_if_nothing_is_to_be_left(start, leave_nothing, calls):
    ref, keeper = start(leave_nothing=leave_nothing)
    ref.tell(Leave())
    ref.tell(Publish(b"a", b"1"))  # has no effect after a withdrawal
    ref.stop(timeout=10)
    assert keeper.calls == [(LOCATION, 10, None, NO_MACHINE), *calls, "stop"]


def test_failure_of_the_lease_keeper_is_the_actors(start, caplog):
    caplog.set_level(logging.CRITICAL)
    ref, keeper = start()
    keeper.error = RuntimeError("broken")
    keeper.stopping.set()
    wait_until(lambda: not ref.is_alive())
    assert "KeyPublisher failed: RuntimeError('broken')" in caplog.text


def test_unknown_message_is_a_failure(start, caplog):
    caplog.set_level(logging.CRITICAL)
    ref, _ = start()
    ref.tell("nonsense")
    wait_until(lambda: not ref.is_alive())
    assert "KeyPublisher does not handle 'nonsense'" in caplog.text


@pytest.mark.parametrize("late", [True, False])
def test_what_was_found_is_told_once_both_are_known(start, recorder, recorder_ref, late):
    ref, keeper = start()
    for act in (lambda: ref.tell(TellFound(recorder_ref)), lambda: keeper.on_found({b"a": b"1"}))[:: -1 if late else 1]:
        act()
    wait_until(lambda: recorder.messages == [Found({b"a": b"1"})])
    ref.stop(timeout=10)


def test_actor_that_asked_and_is_gone_is_no_failure(start, recorder_ref):
    ref, keeper = start()
    recorder_ref.stop(timeout=10)
    ref.tell(TellFound(recorder_ref))
    keeper.on_found({})
    ref.tell(Publish(b"a", b"1"))
    wait_until(lambda: (b"a", b"1") in keeper.calls)
    ref.stop(timeout=10)
