"""State and runtime directories that another user has prepared for a node of root."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.support.node import NODE, PATIENCE, Node, Tree, saved, table

STRANGER = 65534
WEB = "-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10\n"
FILES = ("lock", "config.db", "config.db-wal", "ipvs.db", "ipvs.db-shm", "ipvs.db-journal")


@pytest.fixture
def web(tree: Tree) -> Tree:
    """A configuration of one service."""
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, b={"ipv4": "10.3.0.1", "tcp": 80})
    return tree


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """A directory that no node has anything to do with."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "file").write_text("precious")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["file"]
    assert (folder / "file").read_text() == "precious"


def theirs(path: Path) -> Path:
    """Make a directory of another user."""
    path.mkdir()
    os.chown(path, STRANGER, STRANGER)
    return path


def files_of(node: Node) -> list[Path]:
    """Return the files in the state directory and below it."""
    return [path for path in node.state.rglob("*") if path.is_file()]


@pytest.mark.parametrize("flag", ["--state-dir", "--runtime-dir"])
@pytest.mark.parametrize("target", ["file", "new"])
def test_directory_of_another_user_ends_the_start(
    tmp_path: Path, web: Tree, precious: Path, flag: str, target: str
) -> None:
    folder = theirs(tmp_path / "theirs")
    for name in (*FILES, "ipvs.db.complete"):
        (folder / name).symlink_to(precious / target)
    os.mkfifo(folder / "node-4194305-pipe")
    before = sorted(folder.iterdir())
    own = {"--state-dir": tmp_path / "state", "--runtime-dir": tmp_path / "run"} | {flag: folder}
    flags = [word for pair in own.items() for word in map(str, pair)]
    command = [NODE, "--role", "ipvs", "--noop", "--once", "--config-source", web.url, *flags]

    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"Error: Invalid value for '{flag}': {folder}: not trusted: owned by user 65534 (nobody)"
    )
    assert sorted(folder.iterdir()) == before


@pytest.mark.ipvs
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_node_starts_with_directories_that_are_full_of_traps(
    node: Node, web: Tree, tmp_path: Path, precious: Path, kind: str
) -> None:
    """As another user left them in what was his to write, until it became root's alone."""
    with node:
        node.wait_for_table(WEB)
    files = {*files_of(node), *(node.state / name for name in FILES)}
    for path in (*files, tmp_path / "run/node-4194305-x"):
        path.unlink(missing_ok=True)
        match kind:
            case "link":
                path.symlink_to(precious / "file")
            case "pipe":
                os.mkfifo(path)

    with node:
        node.wait_for_table(WEB)
        assert len(re.findall(r"^error: state: .* unusable: .*; moved aside as", node.log, re.MULTILINE)) == 4
        modes = {path.name: oct(path.lstat().st_mode) for path in files if path.exists()}
        assert modes == dict.fromkeys(modes, "0o100600")
        assert modes.keys() >= {"lock", "config.db", "health.db", "ipvs.db"}, "each is a new file"
    with node:
        node.wait_for_table(WEB)
        assert "unusable" not in node.log, "the second time all is well"
    assert saved() == table(WEB)


@pytest.mark.ipvs
def test_state_of_an_earlier_version_is_taken_from_all_others_and_used(node: Node, web: Tree) -> None:
    with node:
        node.wait_for_table(WEB)
    files = files_of(node)
    for path in files:
        path.chmod(0o644)
    web.clear()
    with node:
        node.wait_for_table([])
    assert {path.stat().st_mode & 0o777 for path in files if path.exists()} == {0o600}
