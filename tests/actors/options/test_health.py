"""The flags about health checks: what they are by default, and what is refused before anything is started."""

import re

import click
import pytest
from click.testing import CliRunner

from actors.main import main
from actors.options.health import health_options
from clusterf.health.probe_policy import DENIED, METHODS


def parsed(*flags, env=None):
    """Return the values of the flags."""
    values = {}

    @click.command(context_settings={"auto_envvar_prefix": "CLUSTERF"})
    @health_options
    def command(**given):
        values.update(given)

    result = CliRunner().invoke(command, flags, env=env)
    assert result.exit_code == 0, result.output
    return values


def test_addresses_of_this_machine_are_denied_by_default():
    values = parsed()
    assert values["health_deny"] == DENIED
    assert values["health_allow"] == ()
    assert values["health_methods"] == METHODS


def test_given_prefixes_replace_the_default():
    assert parsed("--health-deny", "10.1.2.3/8")["health_deny"] == ("10.0.0.0/8",)
    assert parsed("--health-deny", "default", "--health-deny", "10.0.0.0/8")["health_deny"] == (*DENIED, "10.0.0.0/8")
    allowed = parsed(env={"CLUSTERF_HEALTH_ALLOW": "127.0.0.0/8 ::1"})["health_allow"]
    assert allowed == ("127.0.0.0/8", "::1/128")


def test_methods_are_a_list():
    assert parsed("--health-methods", "get,POST")["health_methods"] == ("GET", "POST")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--health-deny", "10.0.0.0/33"], "'--health-deny': '10.0.0.0/33'"),
        (["--health-allow", "localhost"], "'--health-allow': 'localhost'"),
        # which stands for what is denied by default: it would open loopback
        (["--health-allow", "default"], "'--health-allow': 'default'"),
        (["--health-methods", "GET POST"], "'--health-methods': not a list of HTTP methods"),
    ],
)
def test_invalid_flags_are_refused(tmp_path, flags, reason):
    place = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["--role", "ipvs", "--config-source", f"file://{tmp_path}", *place, *flags])
    assert result.exit_code == 2, result.output
    assert re.search(reason, result.output)
    assert not (tmp_path / "state").exists()
