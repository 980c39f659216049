import os
import tempfile
from pathlib import Path

import pytest

from clusterf.lib.state_file import Inode
from clusterf.lib.state_mark import StateMark

INODE = Inode(1, 42)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


def test_mark_holds_for_one_file_until_it_is_removed(path):
    mark = StateMark(path, None, None)
    assert not mark.look(INODE)
    mark.set(INODE)
    assert mark.is_set
    assert StateMark(path, None, None).look(INODE)
    assert not StateMark(path, None, None).look(Inode(1, 43))
    assert not StateMark(path, None, None).look(None)
    mark.remove()
    assert not mark.is_set
    assert not StateMark(path, None, None).look(INODE)
    mark.remove()


def test_mark_holds_on_a_device_that_has_another_number_after_a_boot(path):
    StateMark(path, None, None).set(INODE)
    assert StateMark(path, None, None).look(Inode(2, 42))


def test_each_part_has_a_mark_of_its_own(path):
    StateMark(path, "file:///a", None).set(INODE)
    assert not StateMark(path, "file:///b", None).look(INODE)
    assert not StateMark(path, None, None).look(INODE)


def test_mark_that_cannot_be_removed_is_void_by_a_note_elsewhere(path, tmp_path):
    mark = StateMark(path, None, tmp_path / "run")
    mark.set(INODE)
    (tmp_path / "kept").hardlink_to(tmp_path / mark.name)
    mark.remove()
    (tmp_path / "kept").rename(tmp_path / mark.name)
    assert StateMark(path, None, tmp_path / "run").is_void
    assert not StateMark(path, None, tmp_path / "run").look(INODE)
    mark.set(INODE)
    assert list((tmp_path / "run").iterdir()) == []
    assert StateMark(path, None, tmp_path / "run").look(INODE)


def test_note_elsewhere_is_for_one_path(path, tmp_path):
    StateMark(path, None, tmp_path / "run").remove()
    assert not StateMark(tmp_path / "other" / "state.db", None, tmp_path / "run").is_void


def test_directory_that_is_gone_has_no_mark(tmp_path):
    (tmp_path / "file").touch()
    StateMark(tmp_path / "gone" / "state.db", None, None).remove()
    StateMark(tmp_path / "file" / "state.db", None, None).remove()


def test_mark_that_cannot_be_removed_and_not_be_voided_is_an_error(path, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "state.db.complete").mkdir()
    with pytest.raises(OSError, match=r"directory|permitted"):
        StateMark(path, None, tmp_path / "file").remove()


@pytest.fixture
def unreadable(tmp_path):
    """A directory for notes of which nobody can tell what is in it."""
    directory = tmp_path / "loop"
    directory.symlink_to(directory)
    return directory


def test_note_that_may_be_where_nobody_can_look_voids_the_mark(path, unreadable, caplog):
    StateMark(path, None, None).set(INODE)
    mark = StateMark(path, None, unreadable)
    assert not mark.look(INODE)
    assert not mark.look(INODE)
    (line,) = caplog.messages
    assert line.startswith(f"state: {path}: cannot tell whether it is complete, taken as out of date: [Errno ")


def test_what_cannot_be_noted_where_nobody_can_look_is_an_error(path, unreadable):
    (path.parent / "state.db.complete").mkdir()
    with pytest.raises(OSError, match=r"directory|permitted"):
        StateMark(path, None, unreadable).remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_note_of_another_user_voids_the_mark_though_this_one_may_not_see_it():
    with tempfile.TemporaryDirectory() as folder:
        run, state = Path(folder) / "run", Path(folder) / "state"
        for directory in (Path(folder), state, run):
            directory.mkdir(0o755, exist_ok=True)
            directory.chmod(0o755)
        os.chown(state, 65534, 65534)
        path = state / "state.db"
        StateMark(path, None, run).remove()
        run.chmod(0o700)
        os.seteuid(65534)
        try:
            StateMark(path, None, None).set(INODE)
            assert StateMark(path, None, run).is_void
            assert not StateMark(path, None, run).look(INODE)
        finally:
            os.seteuid(0)
