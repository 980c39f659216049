"""What is root's, and no node has made: it stays root's wherever it lies, or is put by a process taken over."""

import os
from pathlib import Path

import pytest

from actors.supervision import node_directories
from actors.supervision.node_directories import NodeDirectories, foreign_in
from clusterf.host.users import User, Users
from clusterf.lib.files import trusted

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

NODE, PROBE = User(60706, 60716), User(60707, 60717)
USERS = Users(NODE, PROBE)


@pytest.fixture(autouse=True)
def trust(monkeypatch):
    monkeypatch.setattr(trusted, "_others", {NODE.uid, PROBE.uid})


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def directories(state, tmp_path):
    return NodeDirectories(state, tmp_path / "run", USERS)


def whose(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_mode & 0o777


@pytest.mark.parametrize("name", ["shadow.old", "config.db"])
def test_directory_of_roots_that_a_user_has_moved_is_not_given_away(state, directories, name, caplog):
    """What who is in the config process can do, as the state directory is its user's."""
    directories.prepare()
    found = state / "lost+found"
    found.mkdir(0o700)
    (found / name).touch(0o600)
    (state / "probe").rmdir()
    found.rename(state / "probe")
    for _ in range(2):
        directories.keep()
    directories.prepare()
    assert whose(state / "probe") == (0, 0o700)
    assert whose(state / "probe" / name) == (0, 0o600)
    assert (
        caplog.text.count(f"directory {state}/probe: not trusted: of root, in a directory of another user: left alone")
        == 1
    )


def test_directory_that_a_node_was_killed_before_giving_away_is_made_anew(state, directories):
    directories.prepare()
    os.chown(state / "probe", 0, 0)
    directories.prepare()
    assert whose(state / "probe") == (PROBE.uid, 0o700)


def test_directory_with_verdicts_that_was_chowned_to_root_with_all_the_others_is_given(state, directories):
    directories.prepare()
    for path in (state / "probe/health.db", state / "probe/other", state / "probe", state):
        path.touch()
        os.chown(path, 0, 0)
    directories.prepare()
    owners = [whose(state / name)[0] for name in ("", "probe", "probe/health.db", "probe/other")]
    assert owners == [NODE.uid, PROBE.uid, PROBE.uid, 0]


@pytest.mark.parametrize("name", ["node.toml", "config.d", "privkey\n.pem"])
def test_state_directory_that_holds_other_things_is_left_alone(state, directories, name, caplog):
    state.mkdir(0o755)
    for file in ("config.db", name):
        (state / file).touch(0o600)
    directories.prepare()
    assert whose(state) == (0, 0o755)
    assert whose(state / name) == whose(state / "config.db") == (0, 0o600)
    printable = name.replace("\n", "\\x0a")
    assert f"of root, and holds {printable}, which is not the node's: left alone" in caplog.text


def test_state_directory_with_all_that_nodes_leave_in_it_holds_nothing_foreign(state):
    state.mkdir()
    assert foreign_in(state) == ""
    for name in ("config.db-wal", "config.db.0a1b2c3d.complete.draft", "ipvs.db.damaged", "docker.lease", "lock"):
        (state / name).touch()
    (state / "lost+found").mkdir()
    assert foreign_in(state) == ""
    assert foreign_in(state / "missing") == ""


def test_files_that_were_left_are_not_opened_one_by_one(state, directories, monkeypatch):
    directories.prepare()
    for number in range(3000):
        (state / f"probe/f{number}").touch()
    opened = []
    monkeypatch.setattr(node_directories, "open_file", lambda *given: opened.append(given) or os.open("/", os.O_RDONLY))
    directories.prepare()
    assert opened == []
