from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from actors.options.ipvs import ipvs_options
from actors.options.settings_file import read_toml
from clusterf.reconcile.sysctls import RECOMMENDED


@click.command(context_settings={"auto_envvar_prefix": "CLUSTERF"})
@click.option("--config", type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=read_toml)
@click.option("--noop", is_flag=True)
@ipvs_options
def show(ipvs_sysctl, **_):
    click.echo(repr(dict(ipvs_sysctl)))


@pytest.mark.parametrize(
    ("flags", "environment", "file", "expected"),
    [
        (["--ipvs-sysctl"], None, "false", RECOMMENDED),
        (["--ipvs-sysctl", "--noop"], None, "false", RECOMMENDED),
        (["--ipvs-sysctl", "conntrack=1"], "0", "true", {**RECOMMENDED, "conntrack": 1}),
        (["--ipvs-sysctl=off"], "1", "true", {}),
        ([], "yes", "false", RECOMMENDED),
        ([], "off", "true", {}),
        ([], "conntrack=0,sloppy_tcp=0", "true", {**RECOMMENDED, "conntrack": 0, "sloppy_tcp": 0}),
        ([], None, "true", RECOMMENDED),
        ([], None, '"sloppy_tcp=0"', {**RECOMMENDED, "sloppy_tcp": 0}),
        ([], None, "false", {}),
    ],
)
def test_sysctl_flag_wins_over_environment_over_file(tmp_path, flags, environment, file, expected):
    settings = tmp_path / "node.toml"
    settings.write_text(f"ipvs-sysctl = {file}")
    env = {"CLUSTERF_IPVS_SYSCTL": environment}
    result = CliRunner().invoke(show, ["--config", str(settings), *flags], env=env, catch_exceptions=False)
    assert result.stdout == f"{dict(expected)!r}\n"


def test_without_the_flag_no_sysctl_is_kept():
    result = CliRunner().invoke(show, [], env={"CLUSTERF_IPVS_SYSCTL": None}, catch_exceptions=False)
    assert result.stdout == "{}\n"
