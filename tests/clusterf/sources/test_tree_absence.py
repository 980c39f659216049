"""What is missing from a tree without having been deleted."""

import errno
import os
import shutil

import pytest

from clusterf.sources import tree as tree_module
from clusterf.sources.tree import FileTree
from tests.clusterf.support.fake_mounts import FakeMounts

NO_TARGET = "the target of the symbolic link is missing"
NOT_MOUNTED = "the file system is not mounted"
OTHER = "another file system is mounted, which has none of the known files"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return root


def write(file, text="{}"):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def scan(tree, path=b""):
    return {entry.path: entry.error or entry.raw for entry in tree.scan(path, reread=True)}


@pytest.mark.parametrize("path", [b"", b"services", b"services/web", b"services/web/frontend"])
def test_directory_link_without_its_target_is_unreadable(root, tmp_path, path):
    write(tmp_path / "mount/web/frontend")
    (root / "services").symlink_to(tmp_path / "mount")
    tree = FileTree(root)
    assert scan(tree) == {b"services/web/frontend": b"{}"}
    (tmp_path / "mount").rename(tmp_path / "away")
    assert scan(tree, path) == {b"services": NO_TARGET}
    assert tree.paths() == [b"services/web/frontend"]
    (tmp_path / "away").rename(tmp_path / "mount")
    assert scan(tree, path) == {b"services/web/frontend": b"{}"}


def test_file_link_without_its_target_is_unreadable(root, tmp_path):
    secret = write(tmp_path / "secret")
    (root / "services/web").mkdir(parents=True)
    (root / "services/web/frontend").symlink_to(secret)
    tree = FileTree(root)
    scan(tree)
    secret.unlink()
    assert scan(tree) == scan(tree, b"services/web/frontend") == {b"services/web/frontend": NO_TARGET}
    assert tree.paths() == [b"services/web/frontend"]


def test_deleted_link_is_a_deletion(root, tmp_path):
    write(tmp_path / "mount/web/frontend")
    (root / "services").symlink_to(tmp_path / "mount")
    tree = FileTree(root)
    scan(tree)
    (root / "services").unlink()
    assert scan(tree) == scan(tree, b"services/web/frontend") == {b"services/web/frontend": None}


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ENOENT])
@pytest.mark.parametrize("path", [b"", b"services/web/frontend"])
def test_directory_that_cannot_be_reached_is_unreadable(root, monkeypatch, code, path):
    write(root / "services/web/frontend")
    tree = FileTree(root)
    scan(tree)
    original = os.stat

    def failing(path, *arguments, **options):
        if isinstance(path, bytes) and b"/services" in path:
            raise OSError(code, os.strerror(code))
        return original(path, *arguments, **options)

    monkeypatch.setattr(tree_module.os, "stat", failing)
    assert scan(tree, path) == {b"services": os.strerror(code)}
    assert tree.paths() == [b"services/web/frontend"]


def test_directory_deleted_before_it_is_listed_is_a_deletion(root, monkeypatch):
    write(root / "services/web/frontend")
    tree = FileTree(root)
    scan(tree)
    original = os.listdir

    def listdir(path):
        if path.endswith(b"/services"):
            shutil.rmtree(path)
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(tree_module.os, "listdir", listdir)
        assert scan(tree) == {b"services/web/frontend": None}


@pytest.fixture
def mounts(monkeypatch):
    return FakeMounts(monkeypatch)


@pytest.mark.parametrize("path", [b"", b"services/web/frontend"])
@pytest.mark.parametrize("linked", [False, True])
def test_directory_whose_file_system_was_unmounted_is_unreadable(root, tmp_path, mounts, linked, path):
    directory = tmp_path / "mount" if linked else root / "services"
    write(directory / "web/frontend")
    if linked:
        (root / "services").symlink_to(directory)
    mounts.mount(directory, 1000)
    tree = FileTree(root)
    scan(tree)
    mounts.unmount(directory)
    assert scan(tree, path) == scan(tree, path) == {b"services": NOT_MOUNTED}
    assert tree.paths() == [b"services/web/frontend"]
    mounts.mount(directory, 1001)
    assert scan(tree, path) == {b"services/web/frontend": b"{}"}
    (directory / "web/frontend").unlink()
    assert scan(tree, path) == {b"services/web/frontend": None}


def test_root_whose_file_system_was_unmounted_is_unreadable(root, mounts):
    write(root / "services/web/frontend")
    mounts.mount(root, 1000)
    tree = FileTree(root)
    scan(tree)
    mounts.unmount(root)
    assert scan(tree) == scan(tree, b"services") == {b"": NOT_MOUNTED}
    mounts.mount(root, 1000)
    assert scan(tree) == {b"services/web/frontend": b"{}"}


def test_link_redirected_away_from_a_mount_is_a_change(root, tmp_path, mounts):
    write(tmp_path / "mount/web/frontend")
    write(tmp_path / "other/web2/frontend")
    mounts.mount(tmp_path / "mount", 1000)
    (root / "services").symlink_to(tmp_path / "mount")
    tree = FileTree(root)
    scan(tree)
    (root / "services").unlink()
    (root / "services").symlink_to(tmp_path / "other")
    assert scan(tree) == {b"services/web/frontend": None, b"services/web2/frontend": b"{}"}


@pytest.mark.parametrize("path", [b"", b"services/web/frontend"])
def test_other_file_system_without_any_of_the_files_is_unreadable_until_accepted(root, mounts, path):
    directory = root / "services"
    write(directory / "web/frontend")
    mounts.mount(directory, 1000)
    tree = FileTree(root)
    scan(tree)
    (directory / "web/frontend").rename(root / ".kept")
    mounts.devices[directory] = 1001
    assert scan(tree, path) == scan(tree, path) == {b"services": OTHER}
    write(directory / "web/frontend", "new")
    assert scan(tree, path) == {b"services/web/frontend": b"new"}
    (directory / "web/frontend").unlink()
    mounts.devices[directory] = 1002
    assert scan(tree, path) == {b"services": OTHER}
    tree.mounts.accept()
    assert scan(tree, path) == {b"services/web/frontend": None}


def test_mounts_of_an_earlier_process_are_expected(root, mounts):
    write(root / "services/web/frontend")
    mounts.mount(root / "services", 1000)
    before = FileTree(root)
    scan(before)
    mounts.unmount(root / "services")
    tree = FileTree(root)
    tree.expect(before.paths())
    tree.mounts.expect(before.mounts.places)
    assert scan(tree) == {b"services": NOT_MOUNTED}
    tree.mounts.accept()
    assert scan(tree) == {b"services/web/frontend": None}
