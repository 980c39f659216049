"""State and runtime directories that another user owns, or has prepared."""

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from actors.supervision.directories import runtime_directory, state_directory
from clusterf.lib.files import trusted

STRANGER = 65534

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users"),
    pytest.mark.timeout(10),
]


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def theirs(tmp_path):
    path = tmp_path / "theirs"
    path.mkdir()
    os.chown(path, STRANGER, STRANGER)
    return path


def files(path):
    """Return the names, and the modes, of what is in a directory."""
    return {one.name: oct(one.lstat().st_mode) for one in path.iterdir()}


@pytest.mark.parametrize("noop", [False, True])
def test_state_directory_of_another_user_is_wrong_usage(theirs, stack, noop):
    victim = theirs.with_name("victim")
    (theirs / "lock").symlink_to(victim)
    with pytest.raises(click.BadParameter) as caught:
        state_directory(theirs, stack, noop=noop)
    assert caught.value.exit_code == 2
    assert caught.value.format_message() == (
        f"Invalid value for '--state-dir': {theirs}: not trusted: owned by user 65534 (nobody)"
    )
    assert not victim.exists()


def test_default_state_directory_of_another_user_is_wrong_usage(theirs, stack, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(theirs))
    with pytest.raises(click.BadParameter, match="theirs: not trusted"):
        state_directory(None, stack, noop=True)


def test_runtime_directory_of_another_user_is_wrong_usage(theirs, stack):
    with pytest.raises(click.BadParameter, match="theirs: not trusted: owned by user 65534") as caught:
        runtime_directory(theirs, stack)
    assert caught.value.param_hint == "'--runtime-dir'"
    assert files(theirs) == {}


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "of another user"])
def test_lock_that_is_no_file_of_ours_is_moved_aside(tmp_path, stack, kind, caplog):
    state, victim = tmp_path / "state", tmp_path / "victim"
    state.mkdir(0o700)
    victim.write_text("precious")
    match kind:
        case "link":
            (state / "lock").symlink_to(victim)
        case "dangling":
            (state / "lock").symlink_to(tmp_path / "new")
        case "pipe":
            os.mkfifo(state / "lock")
        case "of another user":
            (state / "lock").touch()
            os.chown(state / "lock", STRANGER, STRANGER)
    _, lock = state_directory(state, stack, noop=False)
    assert Path(f"/proc/self/fd/{lock}").readlink() == state / "lock"
    assert (files(state)["lock"], len(files(state))) == ("0o100600", 2)
    assert f"state: {state}/lock: unusable: {state}/lock: not trusted: " in caplog.text
    assert (victim.read_text(), (tmp_path / "new").exists()) == ("precious", False)
    with pytest.raises(click.ClickException, match="another clusterf-node"), ExitStack() as other:
        state_directory(state, other, noop=False)


def test_lock_of_an_earlier_version_is_taken_from_all_others(tmp_path, stack):
    (tmp_path / "lock").touch()
    (tmp_path / "lock").chmod(0o644)
    state_directory(tmp_path, stack, noop=False)
    assert files(tmp_path) == {"lock": "0o100600"}


def test_pipes_and_what_others_made_in_a_runtime_directory_are_left_alone(tmp_path, stack):
    os.mkfifo(tmp_path / "node-4194305-pipe")
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/file").touch()
    (tmp_path / "node-4194305-link").symlink_to("keep")
    (tmp_path / "node-4194305-theirs").mkdir()
    os.chown(tmp_path / "node-4194305-theirs", STRANGER, STRANGER)
    (tmp_path / "node-4194305-full/directory").mkdir(parents=True)
    (tmp_path / "node-4194305-ours").mkdir()
    os.mkfifo(tmp_path / "node-4194305-ours/config.sock")
    before = files(tmp_path)
    own = runtime_directory(tmp_path, stack)
    assert before.items() - files(tmp_path).items() == {("node-4194305-ours", "0o40755")}
    assert own.name in files(tmp_path)
    assert files(tmp_path / "keep").keys() == {"file"}


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A directory like /tmp, and the default one of the user 7 in it."""
    path = tmp_path / "tmp"
    path.mkdir()
    path.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    return path


@pytest.mark.parametrize("kind", ["directory", "link", "file"])
def test_default_name_that_another_user_took_is_not_used(temporary, stack, kind, caplog, monkeypatch):
    first = temporary / "clusterf-7"
    match kind:
        case "directory":
            first.mkdir()
        case "link":
            first.symlink_to(temporary.parent)
        case "file":
            first.touch()
    os.chown(first, STRANGER, STRANGER, follow_symlinks=False)
    runtime = runtime_directory(None, stack).parent
    assert runtime.parent == temporary
    assert runtime.name.startswith("clusterf-7-")
    assert runtime.stat().st_mode & 0o777 == 0o700
    (message,) = caplog.messages
    assert message.startswith(f"runtime directory {first}: not trusted: ")
    assert message.endswith(f", using {runtime}")
    with ExitStack() as later:
        assert runtime_directory(None, later).parent == runtime, "the next node finds it"
    assert len(caplog.messages) == 1


def test_default_name_below_a_directory_in_which_all_may_replace_it_is_wrong_usage(temporary, stack):
    (temporary / "clusterf-7").mkdir()
    temporary.chmod(0o777)
    with pytest.raises(click.BadParameter, match="tmp: not trusted: everybody may write to it"):
        runtime_directory(None, stack)
    shutil.rmtree(temporary / "clusterf-7")
    with pytest.raises(click.BadParameter, match="tmp: not trusted"):
        runtime_directory(None, stack)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_runtime_directory_below_one_of_the_nodes_users_is_refused_to_root(tmp_path, monkeypatch):
    monkeypatch.setattr(trusted, "_others", {60706})
    (tmp_path / "state/run").mkdir(parents=True)
    os.chown(tmp_path / "state", 60706, 60706)
    with ExitStack() as stack, pytest.raises(click.BadParameter, match="not trusted: owned by user 60706"):
        runtime_directory(tmp_path / "state/run", stack)
