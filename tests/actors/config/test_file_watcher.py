import contextlib
import errno
import os
import shutil
import threading
import time

import pytest

from actors.base.messages import Reload
from actors.config.file_watcher import FileWatcher
from actors.link.messages import ProblemsKey
from clusterf.config.decode import MAX_SIZE
from clusterf.config.model import Backend, BackendKey, FrontendKey, RouteKey
from clusterf.sources import tree as tree_module
from clusterf.sources import tree_follower
from tests.waiting import wait_until

KEY = BackendKey(b"web", b"1")
PATH = "services/web/backends/1"


def weighing(weight):
    return f'{{"weight": {weight}}}'


class Watched:
    """A tree with a watcher on it, and what that says."""

    def __init__(self, root, state_file, ref):
        self.root = root
        self.url = f"file://{root}"
        self.state_file = state_file
        self.ref = ref
        self.said = ref._actor_weakref()
        self.watcher = None

    def start(self, interval=1000.0, *, once=False):
        self.watcher = FileWatcher.start(0, self.url, self.root, self.state_file, interval, self.ref, once=once)
        return self

    def restart(self):
        self.watcher.stop()
        self.said.state, self.said.messages, self.said.syncs = {}, [], 0
        self.start().synced()

    def synced(self):
        wait_until(lambda: self.said.syncs)
        return self

    def write(self, text, path=PATH, root=None):
        file = (root or self.root) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def weight(self, key=KEY):
        message = self.said.state.get(key)
        return message and message.value.weight

    def problems(self, path=PATH):
        message = self.said.state.get(ProblemsKey(self.url, path.encode()))
        return " ".join(map(str, message.value)) if message else ""

    def weights_said(self):
        """All weights of the one backend that were ever said, None for that it is gone."""
        said = [m.value and m.value.weight for m in self.said.messages if m.key == KEY]
        return [weight for number, weight in enumerate(said) if [weight] != said[number - 1 : number]]


@pytest.fixture
def tree(tmp_path, recorder_ref):
    (tmp_path / "root").mkdir()
    return Watched(tmp_path / "root", tmp_path / "config.db", recorder_ref)


def test_who_is_to_look_once_follows_until_all_has_been_said_and_no_longer(tree):
    tree.write('{"weight": "not yet')
    tree.start(once=True)
    (follower,) = [thread for thread in threading.enumerate() if thread.name == f"source {tree.url}"]

    tree.write(weighing(1))
    tree.synced()

    follower.join(10)
    assert not follower.is_alive()
    assert tree.weights_said() == [1]
    assert tree.watcher.is_alive()


def test_what_is_there_at_the_start_is_said_and_that_it_is_all(tree):
    tree.write(weighing(1))
    tree.write("{}", "services/web/frontend")
    tree.write("{}", "routes/r")
    tree.start().synced()
    assert tree.said.state.keys() == {KEY, FrontendKey(b"web"), RouteKey(b"r")}
    assert tree.said.syncs == 1


def test_an_empty_tree_is_all_there_is(tree):
    tree.start().synced()
    assert tree.said.messages == []


def test_edits_are_followed(tree):
    file = tree.write(weighing(1))
    tree.start().synced()
    for weight in range(2, 6):
        tree.write(weighing(weight))
        wait_until(lambda weight=weight: tree.weight() == weight)
    file.unlink()
    wait_until(lambda: KEY not in tree.said.state)
    tree.write(weighing(7))
    wait_until(lambda: tree.weight() == 7)


def test_a_file_that_is_renamed_over_another_is_followed(tree):
    tree.write(weighing(1))
    tree.start().synced()
    for weight in range(2, 6):
        tree.write(weighing(weight), "services/web/backends/.new").rename(tree.root / PATH)
        wait_until(lambda weight=weight: tree.weight() == weight)
    assert tree.weights_said() == [1, 2, 3, 4, 5]


def test_a_file_that_is_renamed_is_another_key(tree):
    file = tree.write(weighing(1))
    tree.start().synced()
    file.rename(file.with_name("2"))
    wait_until(lambda: tree.said.state.keys() == {BackendKey(b"web", b"2")})


def test_a_half_written_file_is_never_said(tree):
    file = tree.write(weighing(1))
    tree.start().synced()
    with file.open("r+") as writing:
        for text in ("", '{"wei', '{"weight": 2'):
            writing.truncate(0)
            writing.seek(0)
            writing.write(text)
            writing.flush()
            threading.Event().wait(0.12)  # slower than events are gathered: it has been looked at
        writing.write("}")
    wait_until(lambda: tree.weight() == 2)
    assert tree.weights_said() == [1, 2]
    assert tree.problems() == ""


def test_a_file_that_is_empty_for_good_is_believed_when_it_has_rested(tree):
    file = tree.write(weighing(1))
    tree.start().synced()
    started = time.monotonic()
    os.truncate(file, 0)
    wait_until(lambda: tree.weight() == Backend().weight)
    assert time.monotonic() - started >= tree_follower.SETTLE * 0.9
    assert tree.weights_said() == [1, Backend().weight]


def test_a_clock_that_is_ahead_makes_no_half_written_file_believed(tree):
    file = tree.write(weighing(1))
    tree.start().synced()
    for text in ("", '{"wei'):
        new = tree.write(text, "services/web/backends/.new")
        os.utime(new, (2**32, 2**32))
        new.rename(file)
        threading.Event().wait(0.12)
    tree.write(weighing(2), "services/web/backends/.new").rename(file)
    wait_until(lambda: tree.weight() == 2)
    assert tree.weights_said() == [1, 2]


def test_all_is_not_said_before_a_half_written_file_has_rested(tree):
    tree.write('{"weight": ')
    tree.write("{}", "services/web/frontend")
    tree.start()
    wait_until(lambda: FrontendKey(b"web") in tree.said.state)
    assert not tree.said.syncs
    tree.write(weighing(3))
    tree.synced()
    assert tree.weights_said() == [3]


def test_a_directory_that_goes_takes_its_keys_along(tree):
    for number in range(50):
        tree.write(weighing(1), f"services/web/backends/{number}")
    tree.write("{}", "services/other/frontend")
    tree.start().synced()
    shutil.rmtree(tree.root / "services/web")
    wait_until(lambda: tree.said.state.keys() == {FrontendKey(b"other")})


def test_a_directory_that_is_moved_out_and_in_is_followed(tree, tmp_path):
    tree.write(weighing(1))
    tree.write(weighing(2), "services/web/backends/2")
    tree.start().synced()
    web = tree.root / "services/web"
    web.rename(tmp_path / "away")
    wait_until(lambda: not tree.said.state)
    tree.write(weighing(5), "away/backends/1", tmp_path)
    (tmp_path / "away").rename(web)
    wait_until(lambda: len(tree.said.state) == 2 and tree.weight() == 5)
    tree.write(weighing(6))
    wait_until(lambda: tree.weight() == 6)


def test_a_directory_that_is_renamed_is_another_service(tree):
    tree.write(weighing(1))
    tree.start().synced()
    (tree.root / "services/web").rename(tree.root / "services/web2")
    wait_until(lambda: tree.said.state.keys() == {BackendKey(b"web2", b"1")})


def test_a_deep_directory_that_comes_at_once_is_seen(tree):
    tree.start().synced()
    for number in range(30):
        tree.write(weighing(number), f"services/s{number}/backends/b{number}")
    wait_until(lambda: len(tree.said.state) == 30)
    tree.write(weighing(77), "services/s7/backends/b7")
    wait_until(lambda: tree.weight(BackendKey(b"s7", b"b7")) == 77)


@pytest.mark.parametrize("name", [b"a\nb c", b"\xff\xfe", "é".encode()])
def test_any_name_is_followed(tree, name):
    tree.start().synced()
    file = tree.root / os.fsdecode(b"services/%b/backends/%b" % (name, name))
    file.parent.mkdir(parents=True)
    key = BackendKey(name, name)
    for weight in (1, 2):
        file.write_text(weighing(weight))
        wait_until(lambda weight=weight: tree.weight(key) == weight)
    shutil.rmtree(file.parent)
    wait_until(lambda: key not in tree.said.state)
    tree.write(weighing(3))
    wait_until(lambda: tree.weight() == 3)


def test_names_with_a_dot_in_front_are_not_there(tree):
    tree.start().synced()
    tree.write("{", "services/web/.frontend.swp")
    tree.write("{", ".git/services/web/frontend")
    tree.write(weighing(1))
    wait_until(lambda: tree.weight() == 1)
    assert tree.said.state.keys() == {KEY}


def test_a_root_that_is_a_link_is_followed_when_it_leads_elsewhere(tree, tmp_path):
    for number in (1, 2):
        tree.write(weighing(number), root=tmp_path / f"target{number}")
    tree.root.rmdir()
    tree.root.symlink_to("target1")
    tree.start().synced()
    assert tree.weight() == 1
    (tmp_path / "link").symlink_to("target2")
    (tmp_path / "link").rename(tree.root)
    wait_until(lambda: tree.weight() == 2)
    tree.write(weighing(3), root=tmp_path / "target2")
    wait_until(lambda: tree.weight() == 3)
    assert tree.weights_said() == [1, 2, 3]


def test_a_volume_of_kubernetes_is_followed(tree):
    # the files are links by way of `..data`, which is renamed over to change them all at once
    for number in (1, 2):
        tree.write(weighing(number), f"..{number}/{PATH}")
    (tree.root / "..data").symlink_to("..1")
    (tree.root / "services").symlink_to("..data/services")
    tree.start().synced()
    assert tree.weight() == 1
    (tree.root / "..data_tmp").symlink_to("..2")
    (tree.root / "..data_tmp").rename(tree.root / "..data")
    wait_until(lambda: tree.weight() == 2, timeout=3)
    tree.write(weighing(3), f"..2/{PATH}")
    wait_until(lambda: tree.weight() == 3, timeout=3)


def test_a_loop_of_links_does_no_harm(tree):
    (tree.root / "services").mkdir()
    (tree.root / "services/loop").symlink_to("loop")
    (tree.root / "services/up").symlink_to("..")
    tree.write(weighing(1))
    tree.start().synced()
    assert tree.weight() == 1
    tree.write(weighing(2))
    wait_until(lambda: tree.weight() == 2)


def test_a_pipe_in_place_of_a_file_leaves_its_value_in_force(tree):
    file = tree.write(weighing(1))
    tree.start().synced()
    file.unlink()
    os.mkfifo(file.with_name(".pipe"))
    wait_until(lambda: tree.weights_said() == [1, None])
    tree.write(weighing(2))
    wait_until(lambda: tree.weight() == 2)
    file.with_name(".pipe").rename(file)
    wait_until(lambda: "not a regular file" in tree.problems())
    assert tree.weight() == 2
    file.unlink()
    wait_until(lambda: KEY not in tree.said.state)
    assert tree.problems() == ""


def test_what_is_wrong_with_a_file_is_not_forgotten_when_it_can_be_read_again(tree):
    file = tree.write(weighing(1))
    os.mkfifo(file.with_name("pipe"))
    tree.start(interval=0.1).synced()
    file.with_name("pipe").rename(file)
    wait_until(lambda: "not a regular file" in tree.problems())
    tree.write("{", ".bad").rename(file)
    wait_until(lambda: "not a regular file" not in tree.problems() and tree.problems())
    seen = len(tree.said.messages)
    tree.write(weighing(1), "services/web/backends/2")
    wait_until(lambda: BackendKey(b"web", b"2") in tree.said.state)
    rests = time.monotonic() + 0.5  # some looks at the whole tree
    wait_until(lambda: time.monotonic() > rests)
    assert tree.problems(), tree.said.messages[seen:]


@pytest.mark.parametrize("function", ["stat", "listdir", "open"])
def test_what_cannot_be_read_stays_in_force_also_after_a_restart(tree, monkeypatch, function):
    tree.write(weighing(1))
    tree.write("{}", "services/web/frontend")
    tree.start().synced()
    original = getattr(os, function)
    suffix = os.fsencode(PATH) if function == "open" else b"services/web"

    def failing(path, *arguments, **options):
        if isinstance(path, bytes) and path.endswith(suffix):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tree_module.os, function, failing)
        tree.watcher.tell(Reload())
        wait_until(lambda: "Input/output" in tree.problems(suffix.decode()))
        assert tree.weight() == 1
        tree.restart()
        assert tree.weight() == 1
        assert FrontendKey(b"web") in tree.said.state
        assert "Input/output" in tree.problems(suffix.decode())
    tree.write(weighing(2))
    tree.watcher.tell(Reload())
    wait_until(lambda: tree.weight() == 2)
    wait_until(lambda: not tree.problems(suffix.decode()))


def test_what_was_known_stays_while_the_root_is_away(tree, tmp_path, caplog):
    tree.write(weighing(1))
    tree.start().synced()
    tree.root.rename(tmp_path / "away")
    wait_until(lambda: "missing" in tree.problems(""))
    assert tree.weight() == 1
    assert "keeping the previous valid values" in caplog.text
    tree.write(weighing(2), root=tmp_path / "away")
    (tmp_path / "away").rename(tree.root)
    wait_until(lambda: tree.weight() == 2)
    wait_until(lambda: not tree.problems(""))
    tree.write(weighing(3))
    wait_until(lambda: tree.weight() == 3)
    assert tree.weights_said() == [1, 2, 3]


def test_another_root_in_the_place_of_the_first_is_followed(tree, tmp_path):
    tree.write(weighing(1))
    tree.write(weighing(1), "services/web/backends/2")
    tree.start().synced()
    tree.write(weighing(2), root=tmp_path / "new")
    tree.root.rename(tmp_path / "old")
    (tmp_path / "new").rename(tree.root)
    wait_until(lambda: tree.weight() == 2 and len(tree.said.state) == 1)
    tree.write(weighing(3))
    wait_until(lambda: tree.weight() == 3)


def test_a_root_that_is_away_at_the_start_is_spoken_for_by_the_last_good_copy(tree, tmp_path):
    tree.write(weighing(1))
    tree.start().synced()
    tree.root.rename(tmp_path / "away")
    tree.restart()
    assert tree.weight() == 1
    assert "away" in tree.problems("")


def test_a_root_that_is_away_is_never_taken_for_an_empty_one(tree, tmp_path):
    tree.write(weighing(1), root=tmp_path / "away")
    tree.root.rmdir()
    tree.start()
    wait_until(lambda: "away" in tree.problems(""))
    assert not tree.said.syncs
    (tmp_path / "away").rename(tree.root)
    tree.synced()
    assert tree.weight() == 1


def test_a_bad_value_leaves_the_last_good_one_in_force_also_after_a_restart(tree):
    tree.write(weighing(1))
    tree.start().synced()
    tree.write(weighing(-1))
    wait_until(lambda: "weight" in tree.problems())
    assert tree.weight() == 1
    tree.restart()
    assert tree.weight() == 1
    assert "weight" in tree.problems()
    tree.write(weighing(2))
    wait_until(lambda: tree.weight() == 2)
    assert tree.problems() == ""


def test_a_bad_value_from_the_start_is_left_out_and_the_others_are_not(tree, caplog):
    tree.write("{")
    tree.write(weighing(2), "services/web/backends/2")
    tree.start().synced()
    assert tree.weight() is None
    assert tree.weight(BackendKey(b"web", b"2")) == 2
    assert tree.problems()
    assert caplog.text.count(PATH) == 1


def test_unknown_keys_and_fields_are_warned_of_only(tree, caplog):
    tree.write('{"weight": 1, "colour": 2}')
    tree.write("anything", "services/web/extra")
    tree.write("anything", "README")
    tree.start().synced()
    assert tree.weight() == 1
    assert "colour" in tree.problems()
    assert tree.problems("README")
    assert tree.problems("services/web/extra")
    assert caplog.text.count("(ignored)") == 3
    (tree.root / "README").unlink()
    wait_until(lambda: not tree.problems("README"))


def test_a_value_over_the_limit_is_refused(tree):
    tree.write(weighing(1))
    tree.start().synced()
    tree.write(weighing(2) + " " * MAX_SIZE)
    wait_until(lambda: "the limit" in tree.problems())
    assert tree.weight() == 1


def test_what_no_event_tells_of_is_found_by_the_look_from_time_to_time(tree, monkeypatch):
    tree.write(weighing(1))
    monkeypatch.setattr(tree_follower.watchfiles, "watch", lambda *_, **options: quiet(options["stop_event"]))
    tree.start(interval=0.2).synced()
    tree.write(weighing(2))
    wait_until(lambda: tree.weight() == 2)
    (tree.root / PATH).unlink()
    wait_until(lambda: not tree.said.state)


def quiet(stop_event):
    """No events, only the beats of the clock."""
    while not stop_event.wait(0.05):
        yield set()


@pytest.mark.parametrize("error", [OSError("inotify watch limit reached"), RuntimeError("not UTF-8")])
def test_without_inotify_the_tree_is_looked_at_from_time_to_time(tree, monkeypatch, error):
    beats = []

    def refuse(*_, **options):
        beats.append(time.monotonic())
        raise error

    monkeypatch.setattr(tree_follower.watchfiles, "watch", refuse)
    tree.write(weighing(1))
    tree.start().synced()
    tree.write(weighing(2))
    wait_until(lambda: tree.weight() == 2)
    wait_until(lambda: len(beats) > 2)
    assert beats[2] - beats[0] > 0.3


def test_to_reload_is_to_read_even_what_looks_unchanged(tree):
    file = tree.write(weighing(1))
    os.utime(file, (1, 1))
    tree.start().synced()
    status = file.stat()
    with contextlib.ExitStack() as unseen:
        patch = unseen.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(tree.watcher._actor_weakref()._follower._tree, "relative", lambda path: b".unseen")
        file.write_text(weighing(2))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        tree.watcher.tell(Reload())
        wait_until(lambda: tree.weight() == 2)


def test_nothing_is_said_again_without_a_change(tree, monkeypatch):
    monkeypatch.setattr(tree_module, "_RACY", 0.3)
    tree.write(weighing(1))
    tree.start(interval=0.1).synced()
    rests = time.monotonic() + 1  # until time stamps are to be relied on, and longer
    wait_until(lambda: time.monotonic() > rests)
    seen = len(tree.said.messages)
    rests = time.monotonic() + 0.5
    wait_until(lambda: time.monotonic() > rests)
    assert len(tree.said.messages) == seen


def test_a_thread_that_fails_is_the_failure_of_the_actor(tree, monkeypatch):
    tree.start().synced()
    monkeypatch.setattr(tree.watcher._actor_weakref()._follower, "_scan", lambda *_, **__: 1 / 0)
    tree.write(weighing(1))
    wait_until(lambda: not tree.watcher.is_alive())


def test_a_stopped_watcher_leaves_nothing_running(tree):
    before = set(threading.enumerate())
    tree.start().synced()
    tree.watcher.stop()
    wait_until(lambda: set(threading.enumerate()) <= before)
