"""The `--etcd-*` flags, which the daemon and the tool have in common."""

from typing import Any

import click

from clusterf.etcd.location import EtcdCredentials
from clusterf.etcd.values import LARGEST_LIMIT, MAX_VALUE
from clusterf.lib.options import add_options

__all__ = ["etcd_credentials", "etcd_options"]

_FILE = click.Path(dir_okay=False)
_OPTIONS = [
    click.option(
        "--etcd-ca", envvar="CLUSTERF_ETCD_CA", type=_FILE, help="CA certificates to trust, PEM; default: the system's."
    ),
    click.option("--etcd-cert", envvar="CLUSTERF_ETCD_CERT", type=_FILE, help="Client certificate, PEM."),
    click.option("--etcd-key", envvar="CLUSTERF_ETCD_KEY", type=_FILE, help="Its key, PEM."),
    click.option("--etcd-user", envvar="CLUSTERF_ETCD_USER", metavar="NAME", help="etcd user."),
    click.option(
        "--etcd-password-file",
        envvar="CLUSTERF_ETCD_PASSWORD_FILE",
        type=_FILE,
        help="File with the user's password; or CLUSTERF_ETCD_PASSWORD in the environment.",
    ),
    click.option(
        "--etcd-insecure",
        envvar="CLUSTERF_ETCD_INSECURE",
        is_flag=True,
        help="Send the user's password over etcd:// unencrypted, without a warning.",
    ),
    click.option(
        "--etcd-max-value",
        envvar="CLUSTERF_ETCD_MAX_VALUE",
        type=click.IntRange(1 << 10, LARGEST_LIMIT),
        default=MAX_VALUE,
        show_default=True,
        metavar="BYTES",
        help="Longest value of a key; a longer one is invalid. The default is the limit of etcd.",
    ),
]


etcd_options = add_options(_OPTIONS)
"""Add the flags to a click command."""


def etcd_credentials(flags: dict[str, Any]) -> EtcdCredentials:
    """Remove the `etcd_*` flags from `flags`, and return them."""
    names = ("ca", "cert", "key", "user", "password_file", "insecure", "max_value")
    return EtcdCredentials(**{name: flags.pop(f"etcd_{name}") for name in names})
