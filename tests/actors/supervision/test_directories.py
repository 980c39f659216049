import fcntl
import os
import threading
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from actors.supervision import locks
from actors.supervision.directories import runtime_directory, state_directory


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def held(tmp_path):
    """The lock on a state directory, as another node holds it."""
    (tmp_path / "state").mkdir()
    with (tmp_path / "state/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def test_state_directory_is_created_for_its_owner_only(tmp_path, stack):
    path, lock = state_directory(tmp_path / "a/b", stack, noop=False)
    assert path == tmp_path / "a/b"
    assert path.stat().st_mode & 0o777 == 0o700
    assert Path(f"/proc/self/fd/{lock}").readlink() == path / "lock"


def test_second_writer_with_the_same_state_directory_is_refused(tmp_path, stack, held, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    with pytest.raises(click.ClickException, match="another clusterf-node is running with") as caught:
        state_directory(tmp_path / "state", stack, noop=False)
    assert caught.value.exit_code == 1


def test_noop_needs_no_lock(tmp_path, stack, held):
    assert state_directory(tmp_path / "state", stack, noop=True) == (tmp_path / "state", None)


def test_node_waits_for_a_writer_that_is_stopping(tmp_path, stack, held):
    threading.Timer(0.3, fcntl.flock, (held, fcntl.LOCK_UN)).start()
    assert state_directory(tmp_path / "state", stack, noop=False)[1] is not None


def test_noop_without_a_writable_default_directory_uses_a_temporary_one(tmp_path, stack, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    path, lock = state_directory(None, stack, noop=True)
    assert (path.is_dir(), lock) == (True, None)
    stack.close()
    assert not path.exists()


@pytest.mark.parametrize("noop", [False, True])
def test_state_directory_that_cannot_be_created_keeps_no_node_from_starting(tmp_path, stack, noop, caplog):
    (tmp_path / "file").touch()
    assert state_directory(tmp_path / "file/x", stack, noop=noop) == (tmp_path / "file/x", None)
    assert f"state directory {tmp_path}/file/x: Not a directory: continuing without records" in caplog.text


def test_state_directory_that_is_read_only_is_locked_and_used(tmp_path, stack, monkeypatch, caplog):
    monkeypatch.setattr(os, "access", lambda *_: False)
    path, lock = state_directory(tmp_path, stack, noop=False)
    assert path == tmp_path
    assert lock is not None
    assert "not writable: continuing without records, retrying" in caplog.text
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    state_directory(tmp_path, stack, noop=True)
    assert f": chown -R 4711: {tmp_path}: continuing without records, retrying" in caplog.text


def test_runtime_directory_is_removed_at_the_end(tmp_path, stack):
    path = runtime_directory(tmp_path / "run", stack)
    assert path.name.startswith(f"node-{os.getpid()}-")
    assert path.stat().st_mode & 0o777 == 0o700
    (path / "left").touch()
    stack.close()
    assert list((tmp_path / "run").iterdir()) == []


def test_runtime_directories_of_dead_nodes_are_removed(tmp_path, stack):
    for name in ("node-4194305-x", f"node-{os.getpid()}-x", "node-x-y", "other"):
        (tmp_path / name).mkdir()
    own = runtime_directory(tmp_path, stack)
    assert {path.name for path in tmp_path.iterdir()} == {f"node-{os.getpid()}-x", "node-x-y", "other", own.name}


def test_runtime_directory_that_cannot_be_created_is_wrong_usage(stack):
    with pytest.raises(click.BadParameter, match="/proc/x"):
        runtime_directory(Path("/proc/x"), stack)
