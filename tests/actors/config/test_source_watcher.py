import threading

import msgspec
import pytest

from actors.base.messages import Confirm
from actors.config import source_watcher
from actors.config.source_watcher import SourceWatcher
from actors.link.messages import DoubtIs, DoubtKey, ProblemsAre, ProblemsKey, ValueIs
from clusterf.config.model import Frontend, FrontendKey
from clusterf.config.problems import Problem
from clusterf.sources.doubt import SourceDoubt
from clusterf.sources.last_good import KeyUpdate
from tests.waiting import wait_until


class Follower:
    """A follower that runs until it is stopped, and then raises `error`."""

    def __init__(self, error=None):
        self.stopping = threading.Event()
        self.error = error
        self.confirmed = threading.Event()
        self.kept = threading.Semaphore(0)
        self.known = 5.0

    def stop(self):
        self.stopping.set()

    def confirm(self):
        self.confirmed.set()

    def keep_state(self):
        self.kept.release()

    def run(self):
        assert self.stopping.wait(10)
        if self.error is not None:
            raise self.error


@pytest.fixture
def unhandled(monkeypatch):
    """The exceptions that would end the process: `actors.supervision.child` makes them exit status 70."""
    failures = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: failures.append(failure.exc_value))
    return failures


def test_follower_that_fails_while_it_is_stopped_does_not_end_the_process(recorder_ref, unhandled):
    watcher = SourceWatcher.start(0, "file:///x", recorder_ref, lambda _: Follower(OSError("late")))
    watcher.stop(timeout=10)
    assert unhandled == []


BAD = Problem("file:///x", b"services/web/frontend", "tcp", "Expected `int`", fatal=True)


@pytest.fixture
def following(recorder_ref):
    """Start a watcher; return what its follower passes updates to."""
    callbacks = []

    def follow(on_update):
        callbacks.append(on_update)
        return Follower()

    SourceWatcher.start(3, "file:///x", recorder_ref, follow)
    return callbacks[0]


def update(value=None, *problems, unchanged=False):
    return KeyUpdate(b"services/web/frontend", FrontendKey(b"web"), value, problems, unchanged)


def test_update_becomes_a_value_of_its_key(following, recorder):
    following([update(Frontend(tcp=80)), update(None)], True)
    wait_until(lambda: recorder.syncs)
    assert recorder.messages == [ValueIs(FrontendKey(b"web"), Frontend(tcp=80)), ValueIs(FrontendKey(b"web"), None)]


def test_value_that_is_unchanged_is_not_published_again(following, recorder):
    following([update(unchanged=True)], True)
    wait_until(lambda: recorder.syncs)
    assert recorder.messages == []


def test_problem_is_logged_and_published_when_it_begins_changes_and_ends(following, recorder, caplog):
    key, other = ProblemsKey("file:///x", b"services/web/frontend"), msgspec.structs.replace(BAD, field="udp")
    for problems in ((BAD,), (BAD,), (BAD, other), (), ()):
        following([update(None, *problems, unchanged=True)], False)
    following([], True)
    wait_until(lambda: recorder.syncs)
    assert recorder.messages == [ProblemsAre(key, problems) for problems in ((BAD,), (BAD, other), ())]
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [str(BAD), str(BAD), str(other)]


def test_path_that_names_no_key_has_problems_only(following, recorder):
    unknown = msgspec.structs.replace(BAD, path=b"extra", fatal=False)
    following([KeyUpdate(b"extra", None, None, (unknown,))], True)
    wait_until(lambda: recorder.syncs)
    assert recorder.messages == [ProblemsAre(ProblemsKey("file:///x", b"extra"), (unknown,))]


def test_doubt_is_published_in_the_order_of_the_updates(following, recorder):
    key = DoubtKey("file:///x")
    following([SourceDoubt("another"), update(None), SourceDoubt(None)], True)
    wait_until(lambda: recorder.syncs)
    assert recorder.messages == [DoubtIs(key, "another"), ValueIs(FrontendKey(b"web"), None), DoubtIs(key, None)]


def test_confirmation_reaches_the_follower(recorder_ref):
    follower = Follower()
    watcher = SourceWatcher.start(0, "file:///x", recorder_ref, lambda _: follower)
    watcher.tell(Confirm())
    assert follower.confirmed.wait(10)
    watcher.stop(timeout=10)


def test_state_of_the_follower_is_kept_again_and_again(recorder_ref, monkeypatch):
    monkeypatch.setattr(source_watcher, "KEEP_INTERVAL", 0.01)
    follower = Follower()
    watcher = SourceWatcher.start(0, "file:///x", recorder_ref, lambda _: follower)
    assert all(follower.kept.acquire(timeout=10) for _ in range(3))
    watcher.stop(timeout=10)


def test_publisher_is_told_again_and_again_of_what_moment_the_source_is_known(recorder_ref, recorder, monkeypatch):
    monkeypatch.setattr(source_watcher, "INTERVAL", 0.01)
    follower = Follower()
    watcher = SourceWatcher.start(3, "file:///x", recorder_ref, lambda _: follower)
    wait_until(lambda: recorder.known == 5.0)
    follower.known = 6.0
    wait_until(lambda: recorder.known == 6.0)
    watcher.stop(timeout=10)
