import click
import pytest
from click.testing import CliRunner

from clusterf.reconcile.options import sysctls_of
from clusterf.reconcile.sysctls import RECOMMENDED


@click.command()
@click.option("--ipvs-sysctl", callback=sysctls_of, default="off")
def command(ipvs_sysctl):
    click.echo(repr(ipvs_sysctl))


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ([], {}),
        (["--ipvs-sysctl", "on"], RECOMMENDED),
        (["--ipvs-sysctl", "conntrack=1"], {**RECOMMENDED, "conntrack": 1}),
    ],
)
def test_flag_is_read_as_pairs_of_settings(flags, settings):
    assert CliRunner().invoke(command, flags).output == f"{tuple(settings.items())!r}\n"


def test_invalid_flag_is_a_usage_error_with_the_reason():
    result = CliRunner().invoke(command, ["--ipvs-sysctl", "conntrack=2"])
    assert result.exit_code == 2
    assert "Invalid value for '--ipvs-sysctl': conntrack is 0 to 1, not '2'" in result.output
