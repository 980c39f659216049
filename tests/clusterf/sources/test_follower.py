import sqlite3
import threading

import pytest

from clusterf.sources.follower import Follower
from tests.waiting import wait_until


class CountingFollower(Follower):
    """Counts reloads until it is stopped, and then raises `error`, if there is one."""

    reloads = 0
    error: Exception | None = None

    def _follow(self):
        while not self._stopping.wait(0.001):
            if self._reload.is_set():
                self._reload.clear()
                self.reloads += 1
        if self.error:
            raise self.error


@pytest.fixture
def follower(tmp_path):
    return CountingFollower("file:///x", tmp_path / "config.db", 100.0, lambda updates, synced: None)


def test_follower_runs_until_it_is_stopped(follower):
    thread = threading.Thread(target=follower.run)
    thread.start()
    for number in range(1, 4):
        follower.reload()
        wait_until(lambda number=number: follower.reloads == number)
    follower.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_state_file_is_closed_when_the_follower_fails(follower):
    follower.error = OSError("broken")
    follower.stop()
    with pytest.raises(OSError, match="broken"):
        follower.run()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        follower._last_good._store._file.db.execute("SELECT 1")


def test_scans_are_due_at_about_the_interval(follower, monkeypatch):
    monkeypatch.setattr("clusterf.sources.follower.time.monotonic", lambda: 1000.0)
    due = [follower._next_scan() for _ in range(100)]
    assert 1080 <= min(due) < 1100 < max(due) <= 1120
