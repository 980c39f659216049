"""The flags of the role docker, and what has to hold among them."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

import click

from clusterf.ipvs.table import METHODS
from clusterf.lib.addresses import check_real_server_address, parse_ip
from clusterf.sources.url import Source

__all__ = ["check_docker", "docker_options"]


def _parse_address(text: str, *versions: int) -> str:
    """Return an IP address as it is written in short. Raises click.BadParameter unless a gateway can have it."""
    try:
        address = parse_ip(text)
        check_real_server_address(address)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if address.version not in versions:
        raise click.BadParameter(f"not an IPv{versions[0]} address: {address}")
    return str(address)


def _parse_addresses(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    del ctx, param
    return tuple(_parse_address(text, 4, 6) for text in texts)


def _parse_gateway(version: int) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    return lambda _ctx, _param, text: _parse_address(text, version) if text else None


_OPTIONS = [
    click.option(
        "--docker-endpoint",
        metavar="URL",
        help="The Docker engine, unix:///PATH or tcp://HOST:PORT. [default: as DOCKER_HOST says, or this machine's]",
    ),
    click.option(
        "--docker-network",
        metavar="NAME",
        default="",
        help="Publish the addresses that containers have on this network, where no label tells otherwise.",
    ),
    click.option(
        "--docker-address",
        type=click.Choice(["container", "host"]),
        default="container",
        show_default=True,
        help="Publish the containers' own addresses, or --host-address with the ports published there.",
    ),
    click.option(
        "--host-address",
        "host_addresses",
        envvar="CLUSTERF_HOST_ADDRESS",
        metavar="ADDR",
        multiple=True,
        callback=_parse_addresses,
        help="This host's address, up to one of each family.",
    ),
    click.option(
        "--route-network",
        "route_networks",
        envvar="CLUSTERF_ROUTE_NETWORK",
        metavar="NAME",
        multiple=True,
        help="Publish routes to the subnets of this Docker network.",
    ),
    click.option(
        "--route-gateway4", callback=_parse_gateway(4), metavar="ADDR", help="Gateway of routes to IPv4 subnets."
    ),
    click.option(
        "--route-gateway6", callback=_parse_gateway(6), metavar="ADDR", help="Gateway of routes to IPv6 subnets."
    ),
    click.option(
        "--route-ipvs-method",
        type=click.Choice(list(METHODS)),
        help="How directors forward by these routes; without it they leave out the backends there.",
    ),
    click.option(
        "--etcd-ttl",
        type=click.IntRange(2, 86400),
        default=10,
        show_default=True,
        metavar="S",
        help="Seconds that what is published outlives this node.",
    ),
    click.option("--exit-flush", is_flag=True, help="Remove what is published when the node is stopped."),
]


def docker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_docker(flags: Mapping[str, Any], sources: tuple[Source, ...]) -> None:
    """See that a node with these flags can be one with the role docker. Raises click.UsageError."""
    # what it is built on is large, and of no use without that role
    from clusterf.docker.engine import client_options  # noqa: PLC0415

    try:
        client_options(flags["docker_endpoint"])
    except ValueError as error:
        hint = "'--docker-endpoint'" if flags["docker_endpoint"] else "DOCKER_HOST or DOCKER_CERT_PATH"
        raise click.BadParameter(str(error), param_hint=hint) from None
    if not any(source.etcd for source in sources):
        raise click.UsageError("the role docker publishes in etcd: it needs a --config-source that is one")
    if flags["once"]:
        raise click.UsageError("--once is not for the role docker, whose backends are there for as long as the node is")
    host, addresses = flags["docker_address"] == "host", flags["host_addresses"]
    if host != bool(addresses):
        raise click.UsageError("--docker-address host and --host-address go together")
    if len({ip_address(text).version for text in addresses}) < len(addresses):
        raise click.UsageError("--host-address: one of each family at most")
    told = [name for name in ("route_gateway4", "route_gateway6", "route_ipvs_method") if flags[name]]
    if told and not flags["route_networks"]:
        raise click.UsageError(f"--{told[0].replace('_', '-')} needs a --route-network")
