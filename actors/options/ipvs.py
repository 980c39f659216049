"""The flags of the role ipvs."""

from ipaddress import ip_network

import click

from actors.options.settings_file import Seconds
from clusterf.ipvs.sync import parse_sync
from clusterf.ipvs.table import METHODS, SCHEDULERS
from clusterf.lib.addresses import check_interface
from clusterf.lib.options import add_options, each_parsed_by, parsed_by
from clusterf.reconcile.options import sysctls_of

__all__ = ["ipvs_options"]


def _network(text: str) -> str:
    return str(ip_network(text, strict=False))


def _interface(name: str) -> str:
    check_interface(name)
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
        help="Forwarding method of backends without a route.",
    ),
    click.option("--ipvs-elide", is_flag=True, help="Skip virtual servers without real servers."),
    click.option(
        "--ipvs-exclude",
        metavar="CIDR",
        multiple=True,
        callback=each_parsed_by(_network),
        help="Never change virtual servers with addresses in this prefix.",
    ),
    click.option(
        "--vip-policy",
        type=click.Choice(["open", "strict"]),
        default="open",
        show_default=True,
        help="Whether services may claim addresses that no key of vips/ covers; strict: no, and no fwmarks either.",
    ),
    click.option(
        "--ipvs-sync",
        metavar="ROLE:INTERFACE[:SYNCID]",
        multiple=True,
        callback=parsed_by(parse_sync),
        help="Synchronize connections with other directors: run the kernel's sync daemon master, backup, or both.",
    ),
    click.option(
        "--ipvs-sysctl",
        is_flag=False,
        flag_value="on",
        default="off",
        metavar="[NAME=VALUE,…]",
        callback=sysctls_of,
        help="Keep the settings of IPVS (net.ipv4.vs.*) at the recommended values, or with these changes.",
    ),
    click.option(
        "--vip-interface",
        metavar="NAME",
        callback=parsed_by(_interface),
        help="Keep the frontends' addresses on this interface, and announce them there.",
    ),
    click.option(
        "--removal-hold",
        type=Seconds(min=0),
        default=60.0,
        show_default=True,
        metavar="S",
        help="Seconds to hold removals that take most of the table at once; 0: not held.",
    ),
    click.option(
        "--hold-share",
        type=click.IntRange(0, 100),
        default=50,
        show_default=True,
        metavar="PERCENT",
        help="Share of the weight, or of the virtual servers, above which a removal is held.",
    ),
    click.option(
        "--hold-least",
        type=click.IntRange(min=1),
        default=10,
        show_default=True,
        metavar="N",
        help="Number of real servers with weight, or of virtual servers, in force below which nothing is held.",
    ),
]


ipvs_options = add_options(_OPTIONS)
"""Give a command the flags of the role ipvs."""
