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


@pytest.mark.parametrize(("text", "seconds"), [("1", 1.0), ("0.5", 0.5), ("31536000", 365 * 86400.0)])
def test_seconds_are_a_number(text, seconds):
    assert Seconds(min=0.5).convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["0.4", "31536001", "nan", "inf", "soon", "1m"])
def test_seconds_out_of_range_are_refused(text):
    with pytest.raises(click.BadParameter):
        Seconds(min=0.5).convert(text, None, None)
