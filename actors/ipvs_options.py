"""The flags of the role ipvs."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import click

from clusterf.table import SCHEDULERS

__all__ = ["ipvs_options"]


def _parse_networks(ctx: click.Context, param: click.Parameter, cidrs: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(cidr, strict=False)) for cidr in cidrs)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


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
        type=click.Choice(["masq", "droute", "tunnel"]),
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
]


def ipvs_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of the role ipvs."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
