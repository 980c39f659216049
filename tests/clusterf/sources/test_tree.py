import errno
import os
import shutil

import pytest

from clusterf.config.decode import MAX_SIZE
from clusterf.etcd.values import Oversized
from clusterf.lib.store import is_below
from clusterf.sources import tree as tree_module
from clusterf.sources.tree import FileTree

LONG_AGO = 1_000_000_000


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return root


def write(root, path, text, *, old=True):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    if old:
        os.utime(file, (LONG_AGO, LONG_AGO))
    return file


def look(tree, path=b"", *, reread=False):
    return {entry.path: entry.error or entry.raw for entry in tree.scan(path, reread=reread)}


def test_first_scan_yields_all_files_and_later_ones_the_changed(root):
    write(root, "services/web/frontend", "1")
    write(root, "health", "2")
    tree = FileTree(root)
    assert look(tree) == {b"services/web/frontend": b"1", b"health": b"2"}
    assert look(tree) == {}
    assert look(tree, reread=True) == {b"services/web/frontend": b"1", b"health": b"2"}
    write(root, "health", "22")
    assert look(tree) == {b"health": b"22"}
    assert sorted(tree.paths()) == [b"health", b"services/web/frontend"]


def test_deleted_file_is_yielded_until_it_is_forgotten(root):
    write(root, "services/web/frontend", "1")
    tree = FileTree(root)
    look(tree)
    shutil.rmtree(root / "services")
    assert look(tree, b"services/web") == look(tree) == {b"services/web/frontend": None}
    tree.forget(b"services/web/frontend")
    assert look(tree, b"services/web") == look(tree) == {}
    assert tree.paths() == []


def test_expected_file_that_is_missing_is_yielded_as_gone(root):
    write(root, "health", "1")
    tree = FileTree(root)
    tree.expect([b"health", b"services/web/frontend"])
    assert look(tree) == {b"health": b"1", b"services/web/frontend": None}


def test_scan_of_a_path_skips_its_neighbours(root):
    for name in ("web", "web2", "web.org", "wea"):
        write(root, f"services/{name}/frontend", "1")
    tree = FileTree(root)
    look(tree)
    shutil.rmtree(root / "services")
    (root / "services").mkdir()
    assert look(tree, b"services/web") == {b"services/web/frontend": None}


def test_recently_changed_file_is_read_again(root):
    write(root, "health", "1", old=False)
    tree = FileTree(root)
    assert look(tree) == look(tree) == {b"health": b"1"}


def test_replaced_file_of_the_same_size_and_times_is_read_again(root):
    write(root, "health", "1")
    tree = FileTree(root)
    look(tree)
    write(root, ".new", "2")
    (root / ".new").rename(root / "health")
    assert look(tree) == {b"health": b"2"}


def test_file_written_during_the_read_counts_as_changed(root, monkeypatch):
    file = write(root, "health", "{}")
    truncate = os.open

    def open_truncated(path, *arguments, **options):
        if os.fsencode(path).endswith(b"health"):
            os.truncate(file, 0)
        return truncate(path, *arguments, **options)

    monkeypatch.setattr(tree_module.os, "open", open_truncated)
    tree = FileTree(root)
    (entry,) = tree.scan(b"", reread=False)
    assert entry.raw == b""
    assert tree._seen[b"health"] == 0


@pytest.mark.parametrize("name", [b"a b", b"a\nb", b"\xff\xfe", b"-rf", b"\\", "é\u202e".encode(), b"a" * 255])
def test_any_file_name_is_accepted(root, name):
    write(root, os.fsdecode(b"services/%b/frontend" % name), "1")
    assert look(FileTree(root)) == {b"services/%b/frontend" % name: b"1"}


def test_names_that_begin_with_a_dot_are_ignored(root):
    write(root, ".git/config", "1")
    write(root, "services/.web/frontend", "1")
    write(root, "services/web/.frontend.swp", "1")
    tree = FileTree(root)
    assert look(tree) == look(tree, b".git/config") == look(tree, b"services/.web") == look(tree, b"../other") == {}


def test_symbolic_links_are_followed_and_loops_end(root, tmp_path):
    write(tmp_path, "elsewhere/frontend", "1")
    (root / "services").mkdir()
    (root / "services/web").symlink_to(tmp_path / "elsewhere")
    (root / "services/loop").symlink_to("loop")
    (root / "services/dangling").symlink_to("nowhere")
    (root / "services/up").symlink_to("..")
    found = look(FileTree(root))
    assert found.pop(b"services/loop") == os.strerror(errno.ELOOP)
    assert found.pop(b"services/dangling") == "the target of the symbolic link is missing"
    assert found.pop(b"services/web/frontend") == b"1"
    assert all(path.startswith(b"services/up/") for path in found)


def test_redirected_symbolic_link_is_a_change(root, tmp_path):
    write(tmp_path, "one/frontend", "1")
    write(tmp_path, "two/frontend", "2")
    (root / "services").mkdir()
    (root / "services/web").symlink_to(tmp_path / "one")
    tree = FileTree(root)
    look(tree)
    (root / "services/web").unlink()
    (root / "services/web").symlink_to(tmp_path / "two")
    assert look(tree) == {b"services/web/frontend": b"2"}


def test_pipe_is_an_error_and_does_not_block(root):
    os.mkfifo(root / "health")
    assert look(FileTree(root)) == {b"health": "not a regular file"}


def test_file_replaced_by_a_pipe_stays_known(root):
    write(root, "health", "1")
    tree = FileTree(root)
    look(tree)
    (root / "health").unlink()
    os.mkfifo(root / "health")
    assert look(tree) == {b"health": "not a regular file"}
    assert tree.paths() == [b"health"]


def test_what_was_below_a_directory_that_is_replaced_by_a_file_stays_known(root):
    write(root, "services/web/backends/1", "1")
    tree = FileTree(root)
    look(tree)
    (root / "services/web").rename(root / ".web")
    write(root, "services/web", "2")
    assert look(tree) == {b"services/web": "a file in the place of a directory"}
    assert tree.paths() == [b"services/web/backends/1"]
    (root / "services/web").unlink()
    assert look(tree) == {b"services/web/backends/1": None}


def test_file_replaced_by_a_directory_stays_known(root):
    path = "services/web/backends/1"
    write(root, path, "1")
    tree = FileTree(root)
    look(tree)
    (root / path).unlink()
    write(root, f"{path}/frontend", "2")
    assert look(tree) == {path.encode(): "not a regular file"}
    assert tree.paths() == [path.encode()]


def fail(monkeypatch, function, suffix, code):
    """Make the function of `os` fail for paths that end so."""
    original = getattr(os, function)

    def failing(path, *arguments, **options):
        if isinstance(path, bytes) and path.endswith(suffix):
            raise OSError(code, os.strerror(code))
        return original(path, *arguments, **options)

    monkeypatch.setattr(tree_module.os, function, failing)


@pytest.mark.parametrize("function", ["stat", "listdir"])
def test_files_below_an_unreadable_directory_are_not_deleted(root, monkeypatch, function):
    write(root, "services/web/frontend", "1")
    write(root, "services/web/backends/1", "1")
    write(root, "health", "1")
    tree = FileTree(root)
    look(tree)
    (root / "health").unlink()
    with monkeypatch.context() as patch:
        fail(patch, function, b"services/web", errno.EIO)
        assert look(tree) == {b"services/web": os.strerror(errno.EIO), b"health": None}
    tree.forget(b"health")
    assert look(tree) == {}


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ESTALE])
def test_unreadable_file_is_an_error(root, monkeypatch, code):
    write(root, "health", "1")
    tree = FileTree(root)
    with monkeypatch.context() as patch:
        fail(patch, "open", b"health", code)
        assert look(tree) == {b"health": os.strerror(code)}
    assert look(tree) == {b"health": b"1"}


def test_file_deleted_before_the_read_is_absent(root, monkeypatch):
    write(root, "health", "1")
    fail(monkeypatch, "open", b"health", errno.ENOENT)
    assert look(FileTree(root)) == {}


@pytest.mark.parametrize("path", [b"", b"services", b"services/web/frontend"])
def test_missing_root_is_not_an_empty_tree(root, path):
    write(root, "services/web/frontend", "1")
    tree = FileTree(root)
    look(tree)
    root.rename(root.with_name("away"))
    assert look(tree, path) == {b"": "the root directory is missing"}
    assert tree.paths() == [b"services/web/frontend"]
    root.write_text("a file")
    assert look(tree, path) == {b"": "the root directory is missing"}
    root.unlink()
    root.with_name("away").rename(root)
    assert look(tree) == {}


def test_file_over_the_limit_is_not_taken_and_its_size_is_known(root):
    write(root, "health", " " * (MAX_SIZE + 1000))
    assert look(FileTree(root))[b"health"] == Oversized(MAX_SIZE + 1000, MAX_SIZE)
    os.truncate(root / "health", 300 << 30)  # without blocks
    assert look(FileTree(root))[b"health"] == Oversized(300 << 30, MAX_SIZE)


def test_directory_may_replace_a_file_that_is_no_key(root):
    write(root, "services/web", "2")
    tree = FileTree(root)
    look(tree)
    (root / "services/web").unlink()
    write(root, "services/web/frontend", "3")
    assert look(tree) == {b"services/web": None, b"services/web/frontend": b"3"}


def test_paths_are_relative_to_the_resolved_root(tmp_path, root):
    (tmp_path / "link").symlink_to(root)
    tree = FileTree(tmp_path / "link")
    assert tree.relative(root / "services/web") == b"services/web"
    assert tree.relative(str(root)) == b""
    assert tree.relative(tmp_path / "other").startswith(b"..")


@pytest.mark.parametrize(
    ("path", "root", "answer"),
    [
        (b"a/b", b"", True),
        (b"", b"", True),
        (b"a/b", b"a", True),
        (b"a", b"a", True),
        (b"ab", b"a", False),
        (b"a", b"a/b", False),
        (b"", b"a", False),
    ],
)
def test_below_goes_by_whole_names(path, root, answer):
    assert is_below(path, root) is answer
