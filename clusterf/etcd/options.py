"""Flags that the daemon and the tool have in common: how to get into etcd, and the settings of IPVS."""

from collections.abc import Callable
from typing import Any

import click

from clusterf.etcd.location import EtcdCredentials

__all__ = ["access_of", "etcd_options"]

_FILE = click.Path(dir_okay=False)
_OPTIONS = [
    click.option(
        "--etcd-ca", envvar="CLUSTERF_ETCD_CA", type=_FILE, help="Authorities to trust, PEM; else the system's."
    ),
    click.option("--etcd-cert", envvar="CLUSTERF_ETCD_CERT", type=_FILE, help="Client certificate, PEM."),
    click.option("--etcd-key", envvar="CLUSTERF_ETCD_KEY", type=_FILE, help="Its key, PEM."),
    click.option("--etcd-user", envvar="CLUSTERF_ETCD_USER", metavar="NAME", help="User of etcd."),
    click.option(
        "--etcd-password-file",
        envvar="CLUSTERF_ETCD_PASSWORD_FILE",
        type=_FILE,
        help="File with the user's password; or CLUSTERF_ETCD_PASSWORD in the environment.",
    ),
]


def etcd_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def access_of(flags: dict[str, Any]) -> EtcdCredentials:
    """Take the flags out of `flags`, and return what they say."""
    return EtcdCredentials(
        **{name: flags.pop(f"etcd_{name}") for name in ("ca", "cert", "key", "user", "password_file")}
    )
