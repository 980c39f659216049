import threading

import pytest

from actors.config.source_watcher import SourceWatcher


class Follower:
    """A follower that runs until it is stopped, and then raises `error`."""

    def __init__(self, error=None):
        self.stopping = threading.Event()
        self.error = error

    def stop(self):
        self.stopping.set()

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
