import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clusterf.cli import config as config_commands
from tests.clusterf.support.command import clusterf, valid_tree, write
from tests.processes import started

CLUSTERF = Path(sys.executable).with_name("clusterf")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return valid_tree(tmp_path / "tree")


def test_show_prints_one_object_per_line_sorted_by_key(tree):
    result = clusterf("config", "show", f"file://{tree}")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "routes/r {}",
        'services/web/backends/1 {"ipv4": "10.1.0.1", "tcp": 8080}',
        'services/web/frontend {"ipv4": "10.0.0.1", "tcp": 80}',
    ]


def test_show_as_json_has_key_and_value(tree):
    lines = clusterf("config", "show", "--json", f"file://{tree}").stdout.splitlines()
    assert json.loads(lines[1]) == {"key": "services/web/backends/1", "value": {"ipv4": "10.1.0.1", "tcp": 8080}}


def test_show_skips_invalid_objects(tree):
    write(tree, {"services/web/backends/1": "{"})
    assert "backends" not in clusterf("config", "show", f"file://{tree}").stdout


def test_long_value_stays_on_one_line(tree):
    write(tree, {"routes/r": json.dumps({"x": "y" * 500})})
    assert len(clusterf("config", "show", f"file://{tree}").stdout.splitlines()) == 3


def test_name_is_printed_as_one_printable_word(tree):
    write(tree, {"routes/a b\nc\x1b": "{}"})
    assert "routes/a\\x20b\\x0ac\\x1b {}" in clusterf("config", "show", f"file://{tree}").stdout.splitlines()


def test_value_is_printable(tree):
    write(tree, {"routes/r": '{"x": "\u202e\x9b"}'})
    for form in ((), ("--json",)):
        assert r"\u202e\u009b" in clusterf("config", "show", *form, f"file://{tree}").stdout


def test_check_of_a_valid_tree_is_silent_and_exits_with_0(tree):
    result = clusterf("config", "check", f"file://{tree}")
    assert (result.exit_code, result.stdout) == (0, "")


def test_check_prints_each_problem_and_exits_with_1(tree):
    write(tree, {"services/web/frontend": '{"ipv4": "x", "tcp": 0}'})
    result = clusterf("config", "check", f"file://{tree}")
    assert result.exit_code == 1
    assert f"file://{tree}: services/web/frontend: ipv4: not an IPv4 address: x" in result.stdout.splitlines()
    assert len(result.stdout.splitlines()) == 2


def test_check_finds_conflicts_between_objects(tree):
    write(tree, {"services/other/frontend": '{"ipv4": "10.0.0.1", "tcp": 80}'})
    result = clusterf("config", "check", f"file://{tree}")
    assert result.exit_code == 1
    assert result.stdout.startswith("configuration: services/web/frontend: ")


def test_check_finds_vips_that_are_claimed_by_services_they_are_not_for(tree):
    write(tree, {"vips/team-a": '{"prefix": "10.0.0.0/24", "services": ["team-a-*"]}'})
    result = clusterf("config", "check", f"file://{tree}")
    reason = "address 10.0.0.1 is forbidden: vips/team-a (10.0.0.0/24) has it for other services"
    assert result.exit_code == 1
    assert result.stdout == f"configuration: services/web/frontend: {reason}\n"


def test_check_with_only_warnings_exits_with_0(tree):
    write(tree, {"routes/r": '{"x": 1}', "services/web/extra": "{}"})
    result = clusterf("config", "check", f"file://{tree}")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"file://{tree}: routes/r: x: unknown field (ignored)",
        f"file://{tree}: services/web/extra: unknown key (ignored)",
    ]


def test_check_as_json_has_source_key_field_and_reason(tree):
    write(tree, {"routes/r": '{"Gateway": 1}'})
    (line,) = clusterf("config", "check", "--json", f"file://{tree}").stdout.splitlines()
    assert json.loads(line) == {
        "source": f"file://{tree}",
        "key": "routes/r",
        "field": "gateway",
        "reason": "Expected `str`, got `int`",
        "bad": True,
    }


def test_check_reports_an_empty_source(tmp_path):
    result = clusterf("config", "check", f"file://{tmp_path}")
    assert (result.exit_code, result.stderr) == (0, f"file://{tmp_path}: empty\n")


@pytest.mark.parametrize("command", ["show", "check", "watch"])
@pytest.mark.parametrize("url", ["/etc/clusterf", "http://x/", "file:///does/not/exist", "etcd://", "etcd://u:p@h/x"])
def test_invalid_url_is_wrong_usage(command, url):
    result = clusterf("config", command, url)
    assert result.exit_code == 2
    assert "Error: Invalid value for URL" in result.stderr


@pytest.mark.parametrize("command", ["load", "dump"])
@pytest.mark.parametrize("places", [("a", "b"), ("etcd://a/b", "etcd://a/c"), ("a", "file:///b"), ("a", "http://b")])
def test_load_and_dump_need_a_directory_and_an_etcd(command, places):
    assert clusterf("config", command, *places).exit_code == 2


def test_certificate_without_key_is_wrong_usage():
    result = clusterf("config", "check", "etcd://127.0.0.1:1/x", "--etcd-cert", "/dev/null")
    assert result.exit_code == 2
    assert "must be given together" in result.stderr


@pytest.mark.parametrize("command", [("show",), ("check",), ("watch",), ("dump", "new")])
def test_unreachable_etcd_is_one_line_with_every_endpoint(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = clusterf("config", *command, "etcd://127.0.0.1:1,127.0.0.1:2/x")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: 127.0.0.1:1: unavailable")
    assert "127.0.0.1:2: unavailable" in line
    assert not (tmp_path / "new").exists()


def test_tree_with_an_invalid_object_is_not_loaded(tree):
    write(tree, {"routes/r": "{", "routes/s": "["})
    result = clusterf("config", "load", tree, "etcd://127.0.0.1:1/x")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == "Error: nothing written: the tree has bad objects\n"


@pytest.mark.process
def test_watch_prints_objects_changes_and_problems(tree):
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


def test_password_that_is_sent_unencrypted_is_a_warning(monkeypatch):
    monkeypatch.setattr(config_commands, "read", lambda source: [])

    def stderr(*flags):
        return clusterf("config", "show", "etcd://192.0.2.1/x", "--etcd-user", "u", *flags).stderr

    assert "warning: etcd://192.0.2.1/x: the password of --etcd-user is sent unencrypted" in stderr()
    assert stderr("--etcd-insecure") == ""
