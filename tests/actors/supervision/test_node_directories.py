import os
import sqlite3
from pathlib import Path

import pytest

from actors.supervision.node_directories import NodeDirectories, foreign_in
from clusterf.host.users import User, Users
from clusterf.lib.files import trusted
from clusterf.lib.state_mark import void_name

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

NODE, PROBE = User(60706, 60716), User(60707, 60717)
USERS = Users(NODE, PROBE)


@pytest.fixture(autouse=True)
def trust(monkeypatch):
    monkeypatch.setattr(trusted, "_others", {NODE.uid, PROBE.uid})


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def runtime(tmp_path):
    return tmp_path / "run"


def whose(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, found.st_mode & 0o777


@as_root
def test_each_user_has_its_directories_and_nobody_else(state, runtime):
    NodeDirectories(state, runtime, USERS).prepare()
    assert whose(state) == (60706, 60716, 0o711)
    assert whose(state / "probe") == (60707, 60717, 0o700)
    assert whose(runtime) == (0, 0, 0o711)
    assert whose(runtime / "incomplete") == (60706, 60716, 0o700)
    assert whose(runtime / "incomplete-probe") == (60707, 60717, 0o700)


@as_root
def test_root_takes_back_what_its_processes_had_as_other_users(state, runtime):
    NodeDirectories(state, runtime, USERS).prepare()
    for file in (state / "config.db", state / "probe/health.db", runtime / "incomplete/incomplete-1-x"):
        file.touch(0o600)
        os.chown(file, file.parent.stat().st_uid, 0)
    root = User(0, 0)

    both = frozenset({NODE.uid, PROBE.uid})
    NodeDirectories(state, runtime, Users(root, root, both, both)).prepare()

    assert whose(state) == (0, 0, 0o700)
    for path in (*state.rglob("*"), *runtime.rglob("*")):
        assert whose(path)[:2] == (0, 0)


def test_all_is_for_who_started_the_node_if_there_are_no_users(state, runtime):
    NodeDirectories(state, runtime, None).prepare()
    own = (os.geteuid(), state.stat().st_gid)
    assert whose(state) == (*own, 0o700)
    assert whose(state / "probe") == (*own, 0o700)
    assert whose(runtime) == (*own, 0o711)


@as_root
def test_files_of_earlier_versions_become_the_users(state, runtime):
    (state / "lost+found").mkdir(parents=True)
    for name in (
        "config.db",
        "config.db-wal",
        "lock",
        "health.db",
        "health.db-wal",
        "health.db.complete",
        "health2.db",
    ):
        (state / name).write_text(name)
    NodeDirectories(state, runtime, USERS).prepare()
    for name in ("config.db", "config.db-wal", "lock"):
        assert whose(state / name) == (60706, 60716, 0o600)
    for name in ("health.db", "health.db-wal", "health.db.complete", "health2.db"):
        assert whose(state / "probe" / name) == (60707, 60717, 0o600)
        assert (state / "probe" / name).read_text() == name
        assert not (state / name).exists()
    assert whose(state / "lost+found")[0] == 0


def both_versions_have_run(state, last):
    """Have verdicts of an earlier version, and of this one, of which one has been written last."""
    (state / "probe").mkdir(parents=True)
    for number, folder in enumerate((state, state / "probe")):
        for name in ("health.db", "health.db-wal", "health.db.complete", "health2.db"):
            (folder / name).write_text(folder.name)
            os.utime(folder / name, (number, number))
    os.utime(state / "health2.db", (0, 0))
    (state / "probe/health.db-shm").touch()
    os.utime(last, (9, 9))


@pytest.mark.parametrize("name", ["health.db", "health.db-wal"])
def test_verdicts_that_were_moved_are_replaced_by_those_of_an_earlier_version_that_ran_since(state, runtime, name):
    both_versions_have_run(state, state / name)
    NodeDirectories(state, runtime, None).prepare()
    assert {path.name: path.read_text() for path in (state / "probe").iterdir()} == {
        **dict.fromkeys(("health.db", "health.db-wal", "health.db.complete"), "state"),
        "health2.db": "probe",
    }
    assert [path.name for path in state.glob("*.db*")] == ["health2.db"]


@pytest.mark.parametrize("name", ["health.db", "health.db-wal"])
def test_verdicts_that_were_moved_are_not_replaced_by_older_ones_nor_what_is_beside_them(state, runtime, name):
    both_versions_have_run(state, state / "probe" / name)
    (state / "probe/health.db-shm").unlink()
    (state / "health.db-shm").touch()
    NodeDirectories(state, runtime, None).prepare()
    assert {path.read_text() for path in (state / "probe").iterdir()} == {"probe"}
    assert (state / "health.db-shm").exists()


def test_notes_of_what_was_not_written_go_where_they_are_looked_for(state, runtime):
    state.mkdir()
    runtime.mkdir()
    (state / "health.db").touch()
    notes = [void_name(state / name) for name in ("health.db", "ipvs.db", "config.db")]
    for note in notes:
        (runtime / note).touch()
    NodeDirectories(state, runtime, None).prepare()
    assert [file.name for file in (runtime / "incomplete-probe").iterdir()] == [void_name(state / "probe/health.db")]
    assert {file.name for file in (runtime / "incomplete").iterdir()} == set(notes[1:])


@as_root
def test_what_is_no_file_of_ours_is_not_given_away(state, runtime, tmp_path):
    state.mkdir()
    (tmp_path / "secret").write_text("secret")
    (state / "config.db").symlink_to(tmp_path / "secret")
    (state / "ipvs.db").hardlink_to(tmp_path / "secret")
    os.mkfifo(state / "docker.db")
    (state / "lock").touch()
    os.chown(state / "lock", 65534, 65534)
    (state / "config.db.old").touch()
    NodeDirectories(state, runtime, USERS).prepare()
    paths = (tmp_path / "secret", state / "docker.db", state / "lock", state / "config.db.old")
    assert [whose(path)[0] for path in paths] == [0, 0, 65534, 0]
    assert whose(state)[0] == 60706


@as_root
@pytest.mark.parametrize("name", ["node.toml", "etcd.key", "config.toml", "backup", "health", ".ssh", "my-config.db"])
def test_directory_of_roots_with_other_things_in_it_is_not_given_away(state, runtime, name):
    state.mkdir()
    assert foreign_in(state) == ""
    (state / "config.db").touch()
    (state / "lost+found").mkdir()
    assert foreign_in(state) == ""
    (state / name).touch()
    assert foreign_in(state) == name
    NodeDirectories(state, runtime, USERS).prepare()
    assert [whose(path)[0] for path in (state, state / "config.db", state / name)] == [0, 0, 0]


@as_root
@pytest.mark.parametrize("starting", [True, False])
@pytest.mark.parametrize("name", ["shadow.old", "health.db", None])
def test_directory_of_roots_that_a_user_has_renamed_is_not_given_away(state, runtime, name, starting):
    directories = NodeDirectories(state, runtime, USERS)
    directories.prepare()
    (state / "probe").rmdir()
    (state / "probe").mkdir()  # as the user renames what root had there, such as lost+found
    if name:
        (state / "probe" / name).touch(0o600)
    directories.prepare() if starting else directories.keep()
    given = starting and name != "shadow.old"  # at the start it may be from a node whose processes were root's
    assert whose(state / "probe")[0] == (60707 if given else 0)
    assert not name or whose(state / "probe" / name)[0] == (60707 if given else 0)


@as_root
def test_directory_that_is_removed_is_made_anew(state, runtime):
    directories = NodeDirectories(state, runtime, USERS)
    directories.prepare()
    state.rename(state.with_name("away"))
    (runtime / "incomplete-probe").rmdir()
    directories.keep()
    assert whose(state / "probe") == (60707, 60717, 0o700)
    assert whose(runtime / "incomplete-probe")[0] == 60707


def test_file_that_is_open_stays_locked_while_directories_are_kept(state, runtime):
    directories = NodeDirectories(state, runtime, None)
    directories.prepare()
    with sqlite3.connect(state / "config.db") as db:
        db.execute("CREATE TABLE entries (key)")
        directories.keep()
        db.execute("INSERT INTO entries VALUES (1)")


def test_what_cannot_be_made_is_no_error(tmp_path, runtime):
    (tmp_path / "file").touch()
    directories = NodeDirectories(tmp_path / "file/state", runtime, None)
    directories.prepare()
    directories.keep()
    assert whose(runtime / "incomplete")[2] == 0o700


@as_root
def test_files_of_root_in_a_directory_that_was_a_users_are_not_given_away(state, runtime):
    directories = NodeDirectories(state, runtime, USERS)
    directories.prepare()
    for path in (state / "probe/old-shadow", state / "old-shadow", state / "health9.db"):
        path.write_text("secret")
    (state / "probe/config.db-wal").write_text("secret")
    os.chown(state / "probe/config.db-wal", NODE.uid, NODE.gid)
    directories.prepare()
    for name in ("probe/old-shadow", "old-shadow", "probe/health9.db"):
        assert whose(state / name)[0] == 0
    assert whose(state / "probe/config.db-wal")[0] == NODE.uid


@as_root
def test_directories_of_earlier_users_become_those_of_the_new_ones(state, runtime, monkeypatch):
    NodeDirectories(state, runtime, USERS).prepare()
    for path, owner in ((state / "config.db", NODE), (state / "probe/health.db", PROBE)):
        path.touch()
        os.chown(path, owner.uid, owner.gid)
    named = Users(User(901, 901), User(902, 902), frozenset({NODE.uid}), frozenset({PROBE.uid}))
    monkeypatch.setattr(trusted, "_others", {901, 902, NODE.uid, PROBE.uid})
    NodeDirectories(state, runtime, named).prepare()
    assert [whose(path)[0] for path in (state, state / "config.db", state / "probe", state / "probe/health.db")] == [
        *(901, 901, 902, 902)
    ]


@as_root
def test_link_of_a_user_has_root_make_no_directory(state, runtime, tmp_path):
    directories = NodeDirectories(state, runtime, USERS)
    directories.prepare()
    (state / "probe").rmdir()
    (state / "probe").symlink_to(tmp_path / "etc/nologin")
    os.chown(state / "probe", NODE.uid, NODE.gid, follow_symlinks=False)
    directories.keep()
    assert not (tmp_path / "etc").exists()
    assert (state / "probe").is_symlink()


@as_root
def test_runtime_directory_that_a_user_can_replace_is_left_alone(state, tmp_path):
    runtime = state / "run"
    directories = NodeDirectories(state, runtime, USERS)
    directories.prepare()
    (tmp_path / "closed").mkdir(mode=0o700)
    assert not runtime.exists()
    runtime.symlink_to(tmp_path / "closed")
    os.chown(runtime, NODE.uid, NODE.gid, follow_symlinks=False)
    directories.keep()
    assert whose(tmp_path / "closed") == (0, 0, 0o700)
    assert list((tmp_path / "closed").iterdir()) == []


def test_runtime_directory_is_cleared_of_what_is_empty(state, runtime):
    directories = NodeDirectories(state, runtime, None)
    directories.prepare()
    (runtime / "incomplete/note").touch()
    directories.clear()
    assert [file.name for file in runtime.iterdir()] == ["incomplete"]


@as_root
@pytest.mark.parametrize("begins", [True, False])
def test_link_of_a_users_in_place_of_a_directory_gives_nothing_away(state, runtime, tmp_path, begins):
    """What a process of the node can do that others have taken over, before root looks again."""
    directories = NodeDirectories(state, runtime, USERS)
    directories.prepare()
    precious = tmp_path / "etc"
    precious.mkdir(0o755)
    (precious / "shadow").touch()
    (state / "probe").rmdir()
    (state / "probe").symlink_to(precious)
    (state / "health.db.sh").write_text("id")
    for path in (state / "probe", state / "health.db.sh"):
        os.chown(path, 60706, 60716, follow_symlinks=False)
    if begins:
        NodeDirectories(state, runtime, USERS).prepare()
    else:
        directories.keep()
    assert whose(precious) == (0, 0, 0o755)
    assert whose(precious / "shadow") == (0, 0, 0o644)
    assert [path.name for path in precious.iterdir()] == ["shadow"]


@as_root
def test_directory_below_one_of_a_user_is_not_given_away(runtime, tmp_path):
    """Its user may have moved it there, or have a link lead to it."""
    home, precious = tmp_path / "home", tmp_path / "etc"
    (precious / "state").mkdir(parents=True)
    home.mkdir()
    (home / "link").symlink_to(precious)
    for path in (home, home / "link"):
        os.chown(path, 60706, 60716, follow_symlinks=False)
    NodeDirectories(home / "link/state", runtime, USERS).prepare()
    assert whose(precious / "state")[:2] == (0, 0)
    assert list((precious / "state").iterdir()) in ([], [precious / "state/probe"])
    assert all(whose(path)[:2] == (0, 0) for path in (precious / "state").iterdir())


@as_root
def test_link_of_root_to_the_state_directory_is_followed(state, runtime, tmp_path):
    (tmp_path / "private").mkdir()
    state.symlink_to("private")
    NodeDirectories(state, runtime, USERS).prepare()
    assert whose(tmp_path / "private") == (60706, 60716, 0o711)
    assert whose(tmp_path / "private/probe") == (60707, 60717, 0o700)
