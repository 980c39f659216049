"""The flags of the role ipvs."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import click

from clusterf.ipvs.sync import SyncDaemon, parse_sync
from clusterf.ipvs.table import METHODS, SCHEDULERS
from clusterf.lib.addresses import check_interface
from clusterf.reconcile.options import sysctls_of

__all__ = ["ipvs_options"]


def _parse_networks(ctx: click.Context, param: click.Parameter, cidrs: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(cidr, strict=False)) for cidr in cidrs)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _parse_sync(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> tuple[SyncDaemon, ...]:
    try:
        return parse_sync(texts)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _parse_interface(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        check_interface(name)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return name


_OPTIONS = [
    click.option(
        "--ipvs-scheduler",
        type=click.Choice(sorted(SCHEDULERS)),
        default="wlc",
        show_default=True,
        help="Scheduler of frontends that name none.",
    ),
    click.option(
        "--ipvs-forward-method",
        type=click.Choice(list(METHODS)),
        default="masq",
        show_default=True,
        help="How backends without a route are reached.",
    ),
    click.option("--ipvs-elide", is_flag=True, help="Leave out virtual servers without real servers."),
    click.option(
        "--ipvs-exclude",
        metavar="CIDR",
        multiple=True,
        callback=_parse_networks,
        help="Leave virtual servers with such addresses alone.",
    ),
    click.option(
        "--ipvs-sync",
        metavar="ROLE:INTERFACE[:SYNCID]",
        multiple=True,
        callback=_parse_sync,
        help="Share connections with other directors: run the kernel's sync daemon master, backup, or both.",
    ),
    click.option(
        "--ipvs-sysctl",
        is_flag=False,
        flag_value="on",
        default="off",
        metavar="[NAME=VALUE,…]",
        callback=sysctls_of,
        help="Keep the settings of IPVS (net.ipv4.vs.*) as recommended, or with these changes.",
    ),
    click.option(
        "--vip-interface",
        metavar="NAME",
        callback=_parse_interface,
        help="Keep the frontends' addresses on this interface.",
    ),
]


def ipvs_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of the role ipvs."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
