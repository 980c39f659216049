"""File systems that are away at the start, and the confirmation that they stay away."""

import shutil

import pytest

from actors.base.messages import Confirm, Ping
from clusterf.config.model import BackendKey, RouteKey
from clusterf.lib.store import Store
from tests.actors.support.watched_tree import KEY, PATH, with_weight
from tests.clusterf.support.fake_mounts import FakeMounts
from tests.waiting import wait_until

OTHER = BackendKey(b"web", b"2")
ROUTE = RouteKey(b"r")


@pytest.fixture
def mounts(monkeypatch, tree):
    """A tree whose services are on a file system of their own."""
    mounts = FakeMounts(monkeypatch)
    tree.write(with_weight(1))
    mounts.mount(tree.root / "services", 1000)
    return mounts


def believed_by_then(tree):
    """Have the watcher publish a file beside those that are in doubt, and that of a deletion, which takes longest."""
    tree.write("{}", "routes/r")
    wait_until(lambda: ROUTE in tree.recorder.state)
    (tree.root / "routes/r").unlink()
    wait_until(lambda: ROUTE not in tree.recorder.state)


@pytest.mark.parametrize("linked", [False, True])
def test_file_system_away_at_the_start_changes_nothing(tree, mounts, tmp_path, linked):
    services = tree.root / "services"
    if linked:
        services.rename(tmp_path / "mount")
        services.symlink_to(tmp_path / "mount")
        mounts.devices = {}
        mounts.mount(tmp_path / "mount", 1000)
        services = tmp_path / "mount"
    tree.start().synced()
    tree.watcher.stop()
    mounts.unmount(services)
    tree.restart()
    believed_by_then(tree)
    assert tree.published_weights() == [1]
    assert "the file system is not mounted" in tree.problems("services")
    mounts.mount(services, 1001)
    tree.watcher.tell(Confirm())
    wait_until(lambda: not tree.problems("services"))
    assert tree.published_weights() == [1]


def test_root_away_at_the_start_changes_nothing(tree, mounts):
    mounts.devices = {}
    mounts.mount(tree.root, 1000)
    tree.start().synced()
    tree.watcher.stop()
    mounts.unmount(tree.root)
    tree.restart(interval=0.1)
    assert tree.published_weights() == [1]
    assert "the file system is not mounted" in tree.problems("")
    shutil.rmtree(tree.root)
    wait_until(lambda: "the root directory is missing" in tree.problems(""))
    tree.root.mkdir()
    mounts.mount(tree.root, 1000)
    wait_until(lambda: not tree.problems(""))
    assert tree.published_weights() == [1]


def test_confirmed_file_system_that_is_away_is_a_deletion(tree, mounts):
    tree.start().synced()
    mounts.unmount(tree.root / "services")
    tree.restart()
    tree.watcher.tell(Confirm())
    wait_until(lambda: KEY not in tree.recorder.state)
    assert tree.problems("services") == ""
    tree.restart()
    assert tree.recorder.state == {}


def test_empty_file_system_in_its_place_changes_nothing_until_confirmed(tree, mounts):
    tree.write(with_weight(2), "services/web/backends/2")
    tree.start().synced()
    tree.watcher.stop()
    (tree.root / "services").rename(tree.root / ".full")
    (tree.root / "services").mkdir()
    mounts.devices[tree.root / "services"] = 1001
    tree.restart()
    believed_by_then(tree)
    assert tree.recorder.state.keys() >= {KEY, OTHER}
    tree.watcher.tell(Confirm())
    wait_until(lambda: not tree.recorder.state)


def test_confirmation_without_doubt_changes_nothing(tree, mounts):
    tree.start().synced()
    tree.watcher.tell(Confirm())
    tree.watcher.ask(Ping())
    believed_by_then(tree)
    assert tree.published_weights() == [1]
    mounts.unmount(tree.root / "services")
    tree.restart()
    assert tree.published_weights() == [1]


def test_damaged_copy_is_not_used_for_a_missing_tree(tree):
    tree.write(with_weight(1))
    tree.write(with_weight(2), "services/web/backends/2")
    tree.start().synced()
    tree.watcher.stop()
    store = Store(tree.state_file)
    store.update(tree.url, {PATH.encode(): None})
    store.close()
    shutil.rmtree(tree.root)
    tree.recorder.state, tree.recorder.syncs = {}, 0
    tree.start()
    wait_until(lambda: tree.problems(""))
    assert not tree.recorder.syncs
