import os
from pathlib import Path

import click
import pytest

from actors.options.settings_file import Seconds
from tests.actors.support.invoking import invoke
from tests.actors.support.web_tree import make_tree, node_flags

WRONG_TOML = [
    "x",
    "unknown = 1",
    "config = 'x'",
    "version = true",
    "role = 5",
    "role = ['ipvs', 5]",
    "[role]",
    "noop = 'maybe'",
    "noop = 1",
    "state-dir = ['x']",
    "state-dir = 2020-01-01",
    "resync-interval = true",
    "resync-interval = 'long'",
    "resync-interval = nan",
    "ipvs-scheduler = 'best'",
    "ipvs-exclude = ['x']",
    "ipvs-sync = ['master:eth1:256']",
    "ipvs-sync = 7",
    "ipvs-sysctl = 1",
    "ipvs-sysctl = ['on']",
    "ipvs-sysctl = 'maybe'",
    "health-processes = '2'",
    "health-processes = true",
    "health-processes = 2.0",
    "health-processes = 0",
    "health-reference = ['x']",
    "health-reference = 53",
    "log_level = 'info'",
    "role = " + "[" * 100_000,
    "role = " + "[" * 300 + "]" * 300,
    "role = [{}]",
    "ipvs-exclude = {a = {b = {c = [1979-05-27T07:32:00Z]}}}",
    "config-source = [['x']]",
    ".".join("a" * 2000) + " = 1",
    "a = " + "{b = " * 20_000,
    "resync-interval = inf",
    "resync-interval = " + "9" * 5000,
    "health-processes = " + "9" * 400,
    "resync-interval = 07:32:00",
    r'"a\nError: b\u001b[31m" = 1',
    r'ipvs-scheduler = "a\nError: b\u001b[31m"',
    r'"node-name" = "\u202e"',
    "# " + "x" * (1 << 20),
]


@pytest.mark.parametrize("text", WRONG_TOML)
def test_wrong_settings_exit_with_2_and_one_error_line(monkeypatch, tmp_path, text):
    file = tmp_path / "node.toml"
    file.write_text(text)
    tree = make_tree(tmp_path / "tree")
    flags = node_flags(tmp_path, "--once", "--config-source", f"file://{tree}", "--config", file)
    flags = flags[2:] if "role" in text else flags
    flags += [] if text.startswith("noop") else ["--noop"]
    result, settings = invoke(monkeypatch, *flags)
    assert (result.exit_code, result.stdout, settings) == (2, "", None)
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1


@pytest.fixture
def start(monkeypatch, tmp_path):
    tree = make_tree(tmp_path / "tree")

    def start(file):
        return invoke(
            monkeypatch, *node_flags(tmp_path, "--noop", "--config-source", f"file://{tree}", "--config", file)
        )

    return start


@pytest.mark.parametrize("kind", ["pipe", "device", "bytes", "missing"])
def test_file_that_is_no_text_is_one_error_line(start, tmp_path, kind):
    file = Path("/dev/zero") if kind == "device" else tmp_path / "node.toml"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "bytes":
        file.write_bytes(b"noop = \xff\xfe")
    result, settings = start(file)
    assert (result.exit_code, settings) == (2, None)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert str(file) in line


def test_file_that_others_may_write_is_a_warning(start, tmp_path):
    file = tmp_path / "node.toml"
    file.write_text("resync-interval = 9")
    file.chmod(0o644)
    assert "not trusted" not in start(file)[0].stderr
    file.chmod(0o666)
    result, settings = start(file)
    assert settings.resync_interval == 9
    assert f"--config: {file}: not trusted: everybody may write to it" in result.stderr
    file.chmod(0o644)
    tmp_path.chmod(0o777)
    assert f"--config: {tmp_path}: not trusted: everybody may write to it" in start(file)[0].stderr


@pytest.mark.parametrize(("text", "seconds"), [("1", 1.0), ("0.5", 0.5), ("31536000", 365 * 86400.0)])
def test_seconds_are_a_number(text, seconds):
    assert Seconds(min=0.5).convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["0.4", "31536001", "nan", "inf", "soon", "1m"])
def test_seconds_out_of_range_are_refused(text):
    with pytest.raises(click.BadParameter):
        Seconds(min=0.5).convert(text, None, None)
