"""Files that are empty, invalid or away for a moment."""

import os
import shutil
import threading
import time

import pytest

from actors.link.messages import DoubtKey, ValueIs
from clusterf.config.model import BackendKey, HealthCheck, HealthKey
from clusterf.sources import tree as tree_module
from clusterf.sources import tree_follower
from clusterf.sources.doubt import DoubtKind
from tests.actors.support.watched_tree import KEY, PATH, with_weight
from tests.waiting import wait_until

GAP = 0.12  # seconds; longer than events are gathered, so the gap is seen


def pause(seconds=GAP):
    threading.Event().wait(seconds)


@pytest.mark.parametrize("clock", [0, -3600, 3600, 2**32])
def test_half_written_file_is_never_published_whatever_the_clock(tree, monkeypatch, clock):
    file = tree.write(with_weight(1))
    tree.start().synced()
    monkeypatch.setattr(tree_module.time, "time", lambda now=time.time: now() + clock)
    for text in ("", '{"weight": 2'):
        file.write_text(text)
        pause()
    file.write_text(with_weight(2))
    wait_until(lambda: tree.weight() == 2)
    assert tree.published_weights() == [1, 2]
    assert tree.problems() == ""


def test_file_written_by_a_server_whose_clock_is_behind_is_never_published_half(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    for text in ("", '{"wei'):
        new = tree.write(text, "services/web/backends/.new")
        os.utime(new, (1, 1))
        new.rename(file)
        pause()
    tree.write(with_weight(2))
    wait_until(lambda: tree.weight() == 2)
    assert tree.published_weights() == [1, 2]
    assert tree.problems() == ""


def test_old_file_that_is_invalid_at_the_start_settles_too(tree):
    file = tree.write("{")
    os.utime(file, (1, 1))
    tree.start()
    pause()
    assert not tree.recorder.messages
    tree.write(with_weight(1))
    tree.synced()
    assert tree.published_weights() == [1]
    assert tree.problems() == ""


def test_file_removed_and_created_again_is_never_published_as_deleted(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    for weight in range(2, 5):
        file.unlink()
        pause()
        tree.write(with_weight(weight))
        wait_until(lambda weight=weight: tree.weight() == weight)
    assert tree.published_weights() == [1, 2, 3, 4]


def test_directory_removed_and_created_again_is_never_published_as_deleted(tree):
    tree.write(with_weight(1))
    tree.start().synced()
    shutil.rmtree(tree.root / "services")
    pause()
    tree.write(with_weight(2))
    wait_until(lambda: tree.weight() == 2)
    assert tree.published_weights() == [1, 2]


def test_deletion_is_published_after_the_settle_time(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    started = time.monotonic()
    file.unlink()
    wait_until(lambda: KEY not in tree.recorder.state)
    assert time.monotonic() - started >= tree_follower.SETTLE * 0.9


def test_deletion_of_a_directory_is_published_as_a_whole(tree):
    for number in range(20):
        tree.write(with_weight(1), f"services/web/backends/{number}")
    tree.start().synced()
    sent = []
    receive = tree.recorder.on_receive
    tree.recorder.on_receive = lambda message: (sent.append(message), receive(message))
    shutil.rmtree(tree.root / "services/web")
    wait_until(lambda: not tree.recorder.state)
    assert sum(any(isinstance(message, ValueIs) for message in update.messages) for update in sent) <= 2


def test_file_away_at_a_restart_is_not_published_as_deleted(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    tree.watcher.stop()
    file.unlink()
    tree.recorder.state, tree.recorder.messages, tree.recorder.syncs = {}, [], 0
    tree.start()
    pause()
    assert not tree.recorder.syncs
    tree.write(with_weight(2))
    tree.synced()
    assert tree.published_weights() == [2]


def test_empty_file_of_a_backend_keeps_the_previous_value(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    os.truncate(file, 0)
    wait_until(lambda: "empty" in tree.problems())
    assert tree.published_weights() == [1]


def test_empty_file_of_a_health_check_is_one_without_fields(tree):
    tree.write('{"interval": 7}', "health")
    tree.start().synced()
    started = time.monotonic()
    os.truncate(tree.root / "health", 0)
    wait_until(lambda: tree.recorder.state[HealthKey(None)].value == HealthCheck())
    assert time.monotonic() - started >= tree_follower.SETTLE * 0.9


def test_settling_does_not_need_inotify(tree, monkeypatch):
    def refuse(*_, **__):
        raise OSError("inotify watch limit reached")

    monkeypatch.setattr(tree_follower.watchfiles, "watch", refuse)
    bad = tree.write("{", "services/web/backends/2")
    os.utime(bad, (1, 1))
    file = tree.write(with_weight(1))
    tree.start().synced()
    assert tree.problems("services/web/backends/2")
    file.unlink()
    wait_until(lambda: KEY not in tree.recorder.state)
    assert BackendKey(b"web", b"2") not in tree.recorder.state


def test_values_behind_a_link_are_kept_while_its_target_is_missing(tree, tmp_path):
    tree.write(with_weight(1), PATH, tmp_path / "mount")
    (tree.root / "services").symlink_to(tmp_path / "mount/services")
    tree.start(interval=0.1).synced()
    (tmp_path / "mount").rename(tmp_path / "away")
    wait_until(lambda: "unreadable: the target of the symbolic link is missing" in tree.problems("services"))
    pause(2 * tree_follower.SETTLE)
    assert tree.published_weights() == [1]
    tree.restart(interval=0.1)
    assert tree.published_weights() == [1]
    (tmp_path / "away").rename(tmp_path / "mount")
    wait_until(lambda: not tree.problems("services"))
    assert tree.published_weights() == [1]
    (tree.root / "services").unlink()
    wait_until(lambda: KEY not in tree.recorder.state)


def test_change_under_way_puts_removals_in_passing_doubt(tree):
    tree.write(with_weight(1))
    tree.start().synced()
    key = DoubtKey(tree.url, DoubtKind.CHANGE)
    half = tree.write("", "services/web/backends/2")
    wait_until(lambda: key in tree.recorder.state)
    tree.write(with_weight(3))
    wait_until(lambda: tree.weight() == 3)
    assert key in tree.recorder.state
    half.write_text(with_weight(4))
    wait_until(lambda: key not in tree.recorder.state)
    assert tree.weight(BackendKey(b"web", b"2")) == 4
