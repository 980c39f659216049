import threading

import pykka
import pytest

from actors.base.threaded_actor import ThreadedActor
from tests.waiting import wait_until


class Worker(ThreadedActor):
    """Works until it is stopped, or until `fail` is set; raises `error` at the end."""

    def __init__(self, error=None):
        super().__init__("worker")
        self.error = error
        self.working, self.fail, self.stopping = threading.Event(), threading.Event(), threading.Event()

    def work(self):
        self.working.set()
        wait_until(lambda: self.fail.is_set() or self.stopping.is_set())
        if self.error is not None:
            raise self.error

    def stop_work(self):
        self.stopping.set()


@pytest.fixture
def unhandled(monkeypatch):
    """The exceptions that would end the process."""
    failures = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: failures.append(failure.exc_value))
    return failures


def start(error=None):
    ref = Worker.start(error)
    worker = ref._actor_weakref()
    assert worker.working.wait(10)
    return ref, worker


def test_stop_waits_for_the_worker_thread():
    ref, worker = start()
    ref.stop(timeout=10)
    assert not worker._thread.is_alive()


def test_exception_in_the_worker_fails_the_actor(caplog, unhandled):
    ref, worker = start(ValueError("no"))
    worker.fail.set()
    wait_until(lambda: "Worker failed: ValueError('no')" in caplog.text)
    assert not ref.is_alive()
    assert unhandled == []


def test_exception_while_the_actor_stops_is_no_failure(caplog, unhandled):
    ref, _ = start(ValueError("late"))
    ref.stop(timeout=10)
    assert unhandled == []
    assert "failed" not in caplog.text


def test_worker_whose_receiver_is_dead_ends_quietly(caplog, unhandled):
    ref, worker = start(pykka.ActorDeadError("receiver"))
    worker.fail.set()
    worker._thread.join(10)
    assert ref.is_alive()
    assert unhandled == []
    assert "failed" not in caplog.text


def test_worker_that_does_not_end_is_left_behind(monkeypatch):
    ref, worker = start()
    worker._patience = 0.01
    monkeypatch.setattr(worker, "stop_work", lambda: None)
    ref.stop(timeout=10)
    assert worker._thread.is_alive()
    worker.fail.set()
    worker._thread.join(10)


def test_unknown_message_fails_the_actor(caplog):
    ref, _ = start()
    ref.tell("riddle")
    wait_until(lambda: "Worker does not handle 'riddle'" in caplog.text)
    assert not ref.is_alive()
