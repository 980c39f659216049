"""The `--etcd-*` flags, which the daemon and the tool have in common."""

from typing import Any

import click

from clusterf.etcd.location import EtcdCredentials
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
]


etcd_options = add_options(_OPTIONS)
"""Add the flags to a click command."""


def etcd_credentials(flags: dict[str, Any]) -> EtcdCredentials:
    """Remove the `etcd_*` flags from `flags`, and return them."""
    return EtcdCredentials(
        **{name: flags.pop(f"etcd_{name}") for name in ("ca", "cert", "key", "user", "password_file")}
    )
