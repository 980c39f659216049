"""The tool `clusterf` as a whole: usage, pipes, terminals, and `config confirm`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clusterf.cli.main import main
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


def clusterf(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree in which all is well."""
    return write(
        tmp_path / "tree",
        {
            "services/web/frontend": '{"ipv4": "10.0.0.1",\n "tcp": 80}\n',
            "services/web/backends/1": '{"ipv4":"10.1.0.1","tcp":8080}',
            "routes/r": "",
        },
    )


def write(folder: Path, texts: dict[str, str]) -> Path:
    for key, text in texts.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_show_prints_each_object_on_one_line_sorted_by_key(tree):
    result = clusterf("config", "show", f"file://{tree}")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "routes/r {}",
        'services/web/backends/1 {"ipv4": "10.1.0.1", "tcp": 8080}',
        'services/web/frontend {"ipv4": "10.0.0.1", "tcp": 80}',
    ]


def test_show_as_json_has_the_key_and_the_value_on_each_line(tree):
    lines = clusterf("config", "show", "--json", f"file://{tree}").stdout.splitlines()
    assert json.loads(lines[1]) == {"key": "services/web/backends/1", "value": {"ipv4": "10.1.0.1", "tcp": 8080}}


def test_show_leaves_out_what_is_bad(tree):
    write(tree, {"services/web/backends/1": "{"})
    assert "backends" not in clusterf("config", "show", f"file://{tree}").stdout


def test_a_long_value_stays_on_its_line(tree):
    write(tree, {"routes/r": json.dumps({"x": "y" * 500})})
    assert len(clusterf("config", "show", f"file://{tree}").stdout.splitlines()) == 3


def test_a_name_is_one_word_and_printable_whatever_is_in_it(tree):
    write(tree, {"routes/a b\nc\x1b": "{}"})
    assert "routes/a\\x20b\\x0ac\\x1b {}" in clusterf("config", "show", f"file://{tree}").stdout.splitlines()


def test_a_value_is_printable_whatever_is_in_it(tree):
    write(tree, {"routes/r": '{"x": "\u202e\x9b"}'})
    for form in ((), ("--json",)):
        assert r"\u202e\u009b" in clusterf("config", "show", *form, f"file://{tree}").stdout


def test_check_is_silent_and_exits_with_0_where_all_is_well(tree):
    result = clusterf("config", "check", f"file://{tree}")
    assert (result.exit_code, result.stdout) == (0, "")


def test_check_prints_each_problem_of_an_object_and_exits_with_1(tree):
    write(tree, {"services/web/frontend": '{"ipv4": "x", "tcp": 0}'})
    result = clusterf("config", "check", f"file://{tree}")
    assert result.exit_code == 1
    assert f"file://{tree}: services/web/frontend: ipv4: not an IPv4 address: x" in result.stdout.splitlines()
    assert len(result.stdout.splitlines()) == 2


def test_check_finds_what_is_wrong_between_objects(tree):
    write(tree, {"services/other/frontend": '{"ipv4": "10.0.0.1", "tcp": 80}'})
    result = clusterf("config", "check", f"file://{tree}")
    assert result.exit_code == 1
    assert result.stdout.startswith("configuration: services/web/frontend: ")


def test_check_prints_a_warning_but_it_does_not_count(tree):
    write(tree, {"routes/r": '{"x": 1}', "services/web/extra": "{}"})
    result = clusterf("config", "check", f"file://{tree}")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"file://{tree}: routes/r: x: unknown field (ignored)",
        f"file://{tree}: services/web/extra: unknown key (ignored)",
    ]


def test_check_as_json_says_source_key_field_and_reason(tree):
    write(tree, {"routes/r": '{"Gateway": 1}'})
    (line,) = clusterf("config", "check", "--json", f"file://{tree}").stdout.splitlines()
    assert json.loads(line) == {
        "source": f"file://{tree}",
        "key": "routes/r",
        "field": "gateway",
        "reason": "Expected `str`, got `int`",
        "bad": True,
    }


def test_check_says_so_where_there_is_nothing(tmp_path):
    result = clusterf("config", "check", f"file://{tmp_path}")
    assert (result.exit_code, result.stderr) == (0, f"file://{tmp_path}: empty\n")


@pytest.mark.parametrize("command", ["show", "check", "watch"])
@pytest.mark.parametrize("url", ["/etc/clusterf", "http://x/", "file:///does/not/exist", "etcd://", "etcd://u:p@h/x"])
def test_a_url_that_is_no_source_is_wrong_usage(command, url):
    result = clusterf("config", command, url)
    assert result.exit_code == 2
    assert "Error: Invalid value for URL" in result.stderr


@pytest.mark.parametrize("command", ["load", "dump"])
@pytest.mark.parametrize("places", [("a", "b"), ("etcd://a/b", "etcd://a/c"), ("a", "file:///b"), ("a", "http://b")])
def test_moving_needs_a_directory_and_an_etcd(command, places):
    assert clusterf("config", command, *places).exit_code == 2


def test_flags_of_etcd_that_do_not_go_together_are_wrong_usage():
    result = clusterf("config", "check", "etcd://127.0.0.1:1/x", "--etcd-cert", "/dev/null")
    assert result.exit_code == 2
    assert "must be given together" in result.stderr


@pytest.mark.parametrize("command", [("show",), ("check",), ("watch",), ("dump", "new")])
def test_an_etcd_that_cannot_be_reached_is_one_line_that_names_every_endpoint(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = clusterf("config", *command, "etcd://127.0.0.1:1,127.0.0.1:2/x")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: 127.0.0.1:1: unavailable")
    assert "127.0.0.1:2: unavailable" in line
    assert not (tmp_path / "new").exists()


def test_a_tree_with_a_bad_object_is_not_loaded_and_etcd_is_not_even_asked(tree):
    write(tree, {"routes/r": "{", "routes/s": "["})
    result = clusterf("config", "load", tree, "etcd://127.0.0.1:1/x")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == "Error: nothing written: the tree has bad objects\n"


@pytest.mark.process
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_is_printed(shell):
    result = clusterf("completion", shell)
    assert result.exit_code == 0
    assert f"_CLUSTERF_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.process
def test_the_end_of_a_pipe_is_no_trouble(tree):
    write(tree, {f"routes/{number}": "{}" for number in range(3000)})
    command = [CLUSTERF, "config", "show", f"file://{tree}"]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"routes/0 {}\n"
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.process
def test_a_terminal_gets_aligned_columns_and_colours(tree):
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


@pytest.mark.process
def test_watch_of_a_tree_says_what_is_there_what_changes_and_what_is_wrong(tree):
    command = [CLUSTERF, "config", "watch", f"file://{tree}"]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        first = sorted(process.stdout.readline() for _ in range(3))
        assert first[0] == "+ routes/r {}\n"
        write(tree, {"routes/r": '{"IPVSMethod": "masq"}'})
        assert process.stdout.readline() == '~ routes/r {"IPVSMethod": "masq"}\n'
        write(tree, {"routes/r": "{"})
        assert process.stdout.readline().startswith(f"file://{tree}: routes/r: ")
        (tree / "routes/r").unlink()
        assert process.stdout.readline() == "- routes/r\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr.read() == ""


@contextmanager
def process_titled(title: str, *, listens: bool = True) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", NODE, title, "listens" if listens else "deaf", " " * 80]
    with started(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.process
def test_confirm_tells_a_node_that_runs_with_the_directory(tmp_path):
    with process_titled("clusterf-node: supervisor") as node:
        (tmp_path / f"node-{node.pid}-abc").mkdir()
        result = clusterf("config", "confirm", "--runtime-dir", tmp_path)
        assert (result.exit_code, result.stdout) == (0, f"clusterf-node {node.pid}: confirmed\n")
        assert node.stdout
        assert node.stdout.readline() == "confirmed\n"


@pytest.mark.process
def test_confirm_as_json_says_which_process_was_told(tmp_path):
    with process_titled("clusterf-node: supervisor") as node:
        (tmp_path / f"node-{node.pid}-abc").mkdir()
        result = clusterf("config", "confirm", "--json", "--runtime-dir", tmp_path)
        assert json.loads(result.stdout) == {"pid": node.pid, "told": True, "reason": ""}


@pytest.mark.process
@pytest.mark.parametrize(
    ("title", "listens"),
    [("something else", True), ("clusterf-node: director", True), ("clusterf-node: supervisor", False)],
)
def test_confirm_spares_other_processes_and_those_that_the_signal_would_end(tmp_path, title, listens):
    with process_titled(title, listens=listens) as other:
        (tmp_path / f"node-{other.pid}-abc").mkdir()
        result = clusterf("config", "confirm", "--runtime-dir", tmp_path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert other.poll() is None


@pytest.mark.parametrize("name", ["node-999999999-x", "node-x-y", "node-", "other", "node-0-x", "node-4194304999-x"])
def test_confirm_exits_with_1_where_no_node_runs(tmp_path, name):
    (tmp_path / name).mkdir()
    result = clusterf("config", "confirm", "--runtime-dir", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == f"Error: no clusterf-node runs with the runtime directory {tmp_path}\n"


def test_confirm_exits_with_1_where_there_is_no_such_directory(tmp_path):
    assert clusterf("config", "confirm", "--runtime-dir", tmp_path / "none").exit_code == 1
