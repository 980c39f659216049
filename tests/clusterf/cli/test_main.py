"""The tool `clusterf` as a whole: usage, pipes, terminals, and `config confirm`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clusterf.support.command import clusterf, valid_tree, write
from tests.processes import started

CLUSTERF = Path(sys.executable).with_name("clusterf")
NODE = """
import signal, sys, setproctitle
setproctitle.setproctitle(sys.argv[1])
if sys.argv[2] == "listens":
    signal.signal(signal.SIGUSR2, lambda *_: (print("confirmed", flush=True), sys.exit()))
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return valid_tree(tmp_path / "tree")


@pytest.mark.process
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(shell):
    result = clusterf("completion", shell)
    assert result.exit_code == 0
    assert f"_CLUSTERF_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.process
def test_closed_pipe_is_no_error(tree):
    write(tree, {f"routes/{number}": "{}" for number in range(3000)})
    command = [CLUSTERF, "config", "show", f"file://{tree}"]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"routes/0 {}\n"
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.process
def test_terminal_gets_columns_and_colours(tree):
    write(tree, {"routes/r": "{"})
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb") as terminal:
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
        environment.pop("NO_COLOR", None)
        command = [CLUSTERF, "config", "check", f"file://{tree}"]
        process = subprocess.Popen(command, stdout=follower, env=environment)
        os.close(follower)
        shown = os.read(leader, 4096)
        assert process.wait() == 1
        del terminal
    assert b"\x1b[31m" in shown
    assert b"routes/r" in shown


@contextmanager
def process_titled(title: str, *, listens: bool = True) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", NODE, title, "listens" if listens else "deaf", " " * 80]
    with started(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.process
def test_confirm_signals_the_node_of_the_runtime_directory(tmp_path):
    with process_titled("clusterf-node: supervisor") as node:
        (tmp_path / f"node-{node.pid}-abc").mkdir()
        result = clusterf("config", "confirm", "--runtime-dir", tmp_path)
        assert (result.exit_code, result.stdout) == (0, f"clusterf-node {node.pid}: confirmed\n")
        assert node.stdout
        assert node.stdout.readline() == "confirmed\n"


@pytest.mark.process
def test_confirm_as_json_has_the_process(tmp_path):
    with process_titled("clusterf-node: supervisor") as node:
        (tmp_path / f"node-{node.pid}-abc").mkdir()
        result = clusterf("config", "confirm", "--json", "--runtime-dir", tmp_path)
        assert json.loads(result.stdout) == {"pid": node.pid, "told": True, "reason": ""}


@pytest.mark.process
@pytest.mark.parametrize(
    ("title", "listens"),
    [("something else", True), ("clusterf-node: director", True), ("clusterf-node: supervisor", False)],
)
def test_confirm_spares_processes_that_are_no_supervisor(tmp_path, title, listens):
    with process_titled(title, listens=listens) as other:
        (tmp_path / f"node-{other.pid}-abc").mkdir()
        result = clusterf("config", "confirm", "--runtime-dir", tmp_path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert other.poll() is None


@pytest.mark.parametrize("name", ["node-999999999-x", "node-x-y", "node-", "other", "node-0-x", "node-4194304999-x"])
def test_confirm_without_a_node_exits_with_1(tmp_path, name):
    (tmp_path / name).mkdir()
    result = clusterf("config", "confirm", "--runtime-dir", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == f"Error: no clusterf-node runs with the runtime directory {tmp_path}\n"


def test_confirm_without_the_directory_exits_with_1(tmp_path):
    assert clusterf("config", "confirm", "--runtime-dir", tmp_path / "none").exit_code == 1
