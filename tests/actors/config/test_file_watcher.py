import contextlib
import os
import shutil
import threading
import time

import pytest

from actors.base.messages import Reload
from clusterf.config.model import BackendKey, FrontendKey, RouteKey
from clusterf.sources import tree as tree_module
from clusterf.sources import tree_follower
from tests.actors.support.watched_tree import KEY, PATH, with_weight
from tests.waiting import wait_until


def test_with_once_the_tree_is_followed_until_synced(tree):
    tree.write('{"weight": "not yet')
    tree.start(once=True)
    (follower,) = wait_until(
        lambda: [thread for thread in threading.enumerate() if thread.name == f"source {tree.url}"]
    )

    tree.write(with_weight(1))
    tree.synced()

    follower.join(10)
    assert not follower.is_alive()
    assert tree.published_weights() == [1]
    assert tree.watcher.is_alive()


def test_whole_tree_is_published_at_the_start(tree):
    tree.write(with_weight(1))
    tree.write("{}", "services/web/frontend")
    tree.write("{}", "routes/r")
    tree.start().synced()
    assert tree.recorder.state.keys() == {KEY, FrontendKey(b"web"), RouteKey(b"r")}
    assert tree.recorder.syncs == 1


def test_empty_tree_is_synced(tree):
    tree.start().synced()
    assert tree.recorder.messages == []


def test_edits_are_followed(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    for weight in range(2, 6):
        tree.write(with_weight(weight))
        wait_until(lambda weight=weight: tree.weight() == weight)
    file.unlink()
    wait_until(lambda: KEY not in tree.recorder.state)
    tree.write(with_weight(7))
    wait_until(lambda: tree.weight() == 7)


def test_file_renamed_over_another_is_followed(tree):
    tree.write(with_weight(1))
    tree.start().synced()
    for weight in range(2, 6):
        tree.write(with_weight(weight), "services/web/backends/.new").rename(tree.root / PATH)
        wait_until(lambda weight=weight: tree.weight() == weight)
    assert tree.published_weights() == [1, 2, 3, 4, 5]


def test_renamed_file_is_another_key(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    file.rename(file.with_name("2"))
    wait_until(lambda: tree.recorder.state.keys() == {BackendKey(b"web", b"2")})


def test_half_written_file_is_never_published(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    with file.open("r+") as writing:
        for text in ("", '{"wei', '{"weight": 2'):
            writing.truncate(0)
            writing.seek(0)
            writing.write(text)
            writing.flush()
            threading.Event().wait(0.12)  # longer than events are gathered, so the file has been read
        writing.write("}")
    wait_until(lambda: tree.weight() == 2)
    assert tree.published_weights() == [1, 2]
    assert tree.problems() == ""


def test_half_written_file_with_a_future_time_is_never_published(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    for text in ("", '{"wei'):
        new = tree.write(text, "services/web/backends/.new")
        os.utime(new, (2**32, 2**32))
        new.rename(file)
        threading.Event().wait(0.12)
    tree.write(with_weight(2), "services/web/backends/.new").rename(file)
    wait_until(lambda: tree.weight() == 2)
    assert tree.published_weights() == [1, 2]


def test_tree_is_not_synced_while_a_file_is_half_written(tree):
    tree.write('{"weight": ')
    tree.write("{}", "services/web/frontend")
    tree.start()
    wait_until(lambda: FrontendKey(b"web") in tree.recorder.state)
    assert not tree.recorder.syncs
    tree.write(with_weight(3))
    tree.synced()
    assert tree.published_weights() == [3]


@pytest.mark.parametrize("name", [b"a\nb c", b"\xff\xfe", "é".encode()])
def test_any_file_name_is_followed(tree, name):
    tree.start().synced()
    file = tree.root / os.fsdecode(b"services/%b/backends/%b" % (name, name))
    file.parent.mkdir(parents=True)
    key = BackendKey(name, name)
    for weight in (1, 2):
        file.write_text(with_weight(weight))
        wait_until(lambda weight=weight: tree.weight(key) == weight)
    shutil.rmtree(file.parent)
    wait_until(lambda: key not in tree.recorder.state)
    tree.write(with_weight(3))
    wait_until(lambda: tree.weight() == 3)


def test_change_without_an_event_is_found_by_the_periodic_scan(tree, monkeypatch):
    tree.write(with_weight(1))
    monkeypatch.setattr(tree_follower.watchfiles, "watch", lambda *_, **options: quiet(options["stop_event"]))
    tree.start(interval=0.2).synced()
    tree.write(with_weight(2))
    wait_until(lambda: tree.weight() == 2)
    (tree.root / PATH).unlink()
    wait_until(lambda: not tree.recorder.state)


def quiet(stop_event):
    """No events, only the beats of the clock."""
    while not stop_event.wait(0.05):
        yield set()


@pytest.mark.parametrize("error", [OSError("inotify watch limit reached"), RuntimeError("not UTF-8")])
def test_tree_is_scanned_periodically_without_inotify(tree, monkeypatch, error):
    beats = []

    def refuse(*_, **options):
        beats.append(time.monotonic())
        raise error

    monkeypatch.setattr(tree_follower.watchfiles, "watch", refuse)
    tree.write(with_weight(1))
    tree.start().synced()
    tree.write(with_weight(2))
    wait_until(lambda: tree.weight() == 2)
    wait_until(lambda: len(beats) > 2)
    assert beats[2] - beats[0] > 0.3


def test_reload_reads_files_that_look_unchanged(tree):
    file = tree.write(with_weight(1))
    os.utime(file, (1, 1))
    tree.start().synced()
    status = file.stat()
    with contextlib.ExitStack() as unseen:
        patch = unseen.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(tree.watcher._actor_weakref()._follower._tree, "relative", lambda path: b".unseen")
        file.write_text(with_weight(2))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        tree.watcher.tell(Reload())
        wait_until(lambda: tree.weight() == 2)


def test_nothing_is_published_without_a_change(tree, monkeypatch):
    monkeypatch.setattr(tree_module, "_RACY", 0.3)
    tree.write(with_weight(1))
    tree.start(interval=0.1).synced()
    rests = time.monotonic() + 2  # until time stamps are to be relied on, the change is complete, and longer
    wait_until(lambda: time.monotonic() > rests)
    seen = len(tree.recorder.messages)
    rests = time.monotonic() + 0.5
    wait_until(lambda: time.monotonic() > rests)
    assert len(tree.recorder.messages) == seen


def test_failure_of_the_thread_fails_the_actor(tree, monkeypatch):
    tree.start().synced()
    monkeypatch.setattr(tree.watcher._actor_weakref()._follower, "_scan", lambda *_, **__: 1 / 0)
    tree.write(with_weight(1))
    wait_until(lambda: not tree.watcher.is_alive())


def test_stopped_watcher_leaves_no_thread(tree):
    before = set(threading.enumerate())
    tree.start().synced()
    tree.watcher.stop()
    wait_until(lambda: set(threading.enumerate()) <= before)
