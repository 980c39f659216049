import errno
import os
import time

import pytest

from actors.base.messages import Reload
from clusterf.config.decode import MAX_SIZE
from clusterf.config.model import BackendKey, FrontendKey
from clusterf.sources import tree as tree_module
from tests.actors.support.watched_tree import KEY, PATH, with_weight
from tests.waiting import wait_until


def test_value_is_kept_while_its_file_is_a_pipe(tree):
    file = tree.write(with_weight(1))
    tree.start().synced()
    file.unlink()
    os.mkfifo(file.with_name(".pipe"))
    wait_until(lambda: tree.published_weights() == [1, None])
    tree.write(with_weight(2))
    wait_until(lambda: tree.weight() == 2)
    file.with_name(".pipe").rename(file)
    wait_until(lambda: "not a regular file" in tree.problems())
    assert tree.weight() == 2
    file.unlink()
    wait_until(lambda: KEY not in tree.recorder.state)
    assert tree.problems() == ""


def test_problem_of_a_file_that_became_readable_is_not_lost(tree):
    file = tree.write(with_weight(1))
    os.mkfifo(file.with_name("pipe"))
    tree.start(interval=0.1).synced()
    file.with_name("pipe").rename(file)
    wait_until(lambda: "not a regular file" in tree.problems())
    tree.write("{", ".bad").rename(file)
    wait_until(lambda: "not a regular file" not in tree.problems() and tree.problems())
    seen = len(tree.recorder.messages)
    tree.write(with_weight(1), "services/web/backends/2")
    wait_until(lambda: BackendKey(b"web", b"2") in tree.recorder.state)
    rests = time.monotonic() + 0.5  # several scans of the whole tree
    wait_until(lambda: time.monotonic() > rests)
    assert tree.problems(), tree.recorder.messages[seen:]


@pytest.mark.parametrize("function", ["stat", "listdir", "open"])
def test_values_that_cannot_be_read_are_kept_also_after_a_restart(tree, monkeypatch, function):
    tree.write(with_weight(1))
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
        assert FrontendKey(b"web") in tree.recorder.state
        assert "Input/output" in tree.problems(suffix.decode())
    tree.write(with_weight(2))
    tree.watcher.tell(Reload())
    wait_until(lambda: tree.weight() == 2)
    wait_until(lambda: not tree.problems(suffix.decode()))


def test_values_are_kept_while_the_root_is_missing(tree, tmp_path, caplog):
    tree.write(with_weight(1))
    tree.start().synced()
    tree.root.rename(tmp_path / "away")
    wait_until(lambda: "missing" in tree.problems(""))
    assert tree.weight() == 1
    assert "keeping the previous valid values" in caplog.text
    tree.write(with_weight(2), root=tmp_path / "away")
    (tmp_path / "away").rename(tree.root)
    wait_until(lambda: tree.weight() == 2)
    wait_until(lambda: not tree.problems(""))
    tree.write(with_weight(3))
    wait_until(lambda: tree.weight() == 3)
    assert tree.published_weights() == [1, 2, 3]


def test_stored_copy_is_published_if_the_root_is_missing_at_the_start(tree, tmp_path):
    tree.write(with_weight(1))
    tree.start().synced()
    tree.root.rename(tmp_path / "away")
    tree.restart()
    assert tree.weight() == 1
    assert "missing" in tree.problems("")


def test_missing_root_is_not_an_empty_one(tree, tmp_path):
    tree.write(with_weight(1), root=tmp_path / "away")
    tree.root.rmdir()
    tree.start()
    wait_until(lambda: "missing" in tree.problems(""))
    assert not tree.recorder.syncs
    (tmp_path / "away").rename(tree.root)
    tree.synced()
    assert tree.weight() == 1


def test_previous_valid_value_is_kept_also_after_a_restart(tree):
    tree.write(with_weight(1))
    tree.start().synced()
    tree.write(with_weight(-1))
    wait_until(lambda: "weight" in tree.problems())
    assert tree.weight() == 1
    tree.restart()
    assert tree.weight() == 1
    assert "weight" in tree.problems()
    tree.write(with_weight(2))
    wait_until(lambda: tree.weight() == 2)
    assert tree.problems() == ""


def test_invalid_value_without_a_previous_one_is_skipped_and_others_are_published(tree, caplog):
    tree.write("{")
    tree.write(with_weight(2), "services/web/backends/2")
    tree.start().synced()
    assert tree.weight() is None
    assert tree.weight(BackendKey(b"web", b"2")) == 2
    assert tree.problems()
    assert caplog.text.count(PATH) == 1


def test_unknown_keys_and_fields_are_warnings(tree, caplog):
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


def test_value_over_the_size_limit_is_invalid(tree):
    tree.write(with_weight(1))
    tree.start().synced()
    # renamed, as a part of it would be valid
    tree.write(with_weight(2) + " " * MAX_SIZE, "services/web/backends/.new").rename(tree.root / PATH)
    wait_until(lambda: "the limit" in tree.problems())
    assert tree.weight() == 1
