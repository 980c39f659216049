import click
import pytest
from click.testing import CliRunner

from clusterf.etcd.location import EtcdCredentials
from clusterf.etcd.options import etcd_credentials, etcd_options


def credentials(*arguments, **environment):
    """Return the credentials of a command that is run so, and the flags that are left."""
    found = []

    @click.command()
    @click.option("--other")
    @etcd_options
    def command(**flags):
        found.extend([etcd_credentials(flags), flags])

    assert CliRunner().invoke(command, arguments, env=environment).exit_code == 0
    return found


def test_flags_become_credentials_and_other_flags_are_left():
    flags = ["--etcd-ca", "ca", "--etcd-cert", "cert", "--etcd-key", "key", "--etcd-user", "me"]
    found, left = credentials(*flags, "--etcd-password-file", "password", "--other", "x")
    assert found == EtcdCredentials(ca="ca", cert="cert", key="key", user="me", password_file="password")
    assert left == {"other": "x"}


@pytest.mark.parametrize("name", ["ca", "cert", "key", "user", "password_file"])
def test_each_flag_is_also_an_environment_variable(name):
    found, _ = credentials(**{f"CLUSTERF_ETCD_{name.upper()}": "value"})
    assert found == EtcdCredentials(**{name: "value"})


def test_no_flags_are_no_credentials():
    assert credentials()[0] == EtcdCredentials()
