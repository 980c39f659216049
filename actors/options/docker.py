"""The flags of the role docker, and the constraints between them."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

import click

from clusterf.docker.stops import STOP_SECONDS
from clusterf.ipvs.table import METHODS
from clusterf.lib.addresses import parse_real_server_address
from clusterf.lib.options import add_options, each_parsed_by, parsed_by
from clusterf.lib.patterns import check_pattern
from clusterf.sources.url import Source

__all__ = ["LEAST_TTL", "check_docker", "docker_options"]

# seconds; of less, a quarter (`actors.supervision.policy`) is too short to tell a hung process from a busy one
LEAST_TTL = 4


def _address(text: str) -> str:
    return str(parse_real_server_address(text))


def _gateway(version: int) -> Callable[[str], str | None]:
    def parse(text: str) -> str | None:
        if not text:
            return None
        address = parse_real_server_address(text)
        if address.version != version:
            raise ValueError(f"not an IPv{version} address: {address}")
        return str(address)

    return parse


_OPTIONS = [
    click.option(
        "--docker-endpoint",
        metavar="URL",
        help="The Docker engine, unix:///PATH or tcp://HOST:PORT. [default: DOCKER_HOST, or the local engine]",
    ),
    click.option(
        "--docker-network",
        metavar="NAME",
        default="",
        help="Publish the addresses of containers on this network, unless a label names another.",
    ),
    click.option(
        "--docker-address",
        type=click.Choice(["container", "host"]),
        default="container",
        show_default=True,
        help="Publish the containers' own addresses, or --host-address with their published ports.",
    ),
    click.option(
        "--host-address",
        "host_addresses",
        envvar="CLUSTERF_HOST_ADDRESS",
        metavar="ADDR",
        multiple=True,
        callback=each_parsed_by(_address),
        help="This host's address, at most one of each family.",
    ),
    click.option(
        "--docker-services",
        envvar="CLUSTERF_DOCKER_SERVICES",
        metavar="PATTERN",
        multiple=True,
        callback=each_parsed_by(check_pattern),
        help="Publish containers for services whose names match, as in team-a-*.  [default: *]",
    ),
    click.option(
        "--docker-max-weight",
        type=click.IntRange(1, 65535),
        default=65535,
        show_default=True,
        metavar="N",
        help="The greatest weight that a label may ask for; a greater one is reduced to it.",
    ),
    click.option(
        "--docker-label-checks",
        type=click.Choice(["basic", "full"]),
        default="basic",
        show_default=True,
        help="Health checks in labels: by TCP, GET and HEAD at the container's own ports, or all there are.",
    ),
    click.option(
        "--docker-stop-timeout",
        type=click.IntRange(1, 86400),
        default=STOP_SECONDS,
        show_default=True,
        metavar="S",
        help="Seconds for a container to stop, without a limit of its own; one that goes on has its weight again.",
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
        "--route-gateway4", callback=parsed_by(_gateway(4)), metavar="ADDR", help="Gateway of routes to IPv4 subnets."
    ),
    click.option(
        "--route-gateway6", callback=parsed_by(_gateway(6)), metavar="ADDR", help="Gateway of routes to IPv6 subnets."
    ),
    click.option(
        "--route-ipvs-method",
        type=click.Choice(list(METHODS)),
        help="Forwarding method of these routes; without it directors skip the backends behind them.",
    ),
    click.option(
        "--etcd-ttl",
        type=click.IntRange(2, 86400),
        default=10,
        show_default=True,
        metavar="S",
        help="Seconds for which published keys outlive this node; 4 at least for the role docker.",
    ),
    click.option("--exit-flush", is_flag=True, help="Remove published keys when the node is stopped."),
]


docker_options = add_options(_OPTIONS)
"""Give a command the flags of the role docker."""


def check_docker(flags: Mapping[str, Any], sources: tuple[Source, ...]) -> None:
    """Raise click.UsageError if a node with these flags cannot have the role docker."""
    # the library of the engine takes 13 MB, for nodes with this role only
    from clusterf.docker.engine import client_options  # noqa: PLC0415

    try:
        client_options(flags["docker_endpoint"])
    except ValueError as error:
        hint = "'--docker-endpoint'" if flags["docker_endpoint"] else "DOCKER_HOST or DOCKER_CERT_PATH"
        raise click.BadParameter(str(error), param_hint=hint) from None
    if not any(source.etcd for source in sources):
        raise click.UsageError("the role docker publishes in etcd: it needs an etcd as --config-source")
    if flags["once"]:
        raise click.UsageError("--once is not for the role docker: it publishes for as long as the node runs")
    if flags["etcd_ttl"] < LEAST_TTL:
        raise click.UsageError(
            f"--etcd-ttl {flags['etcd_ttl']} is too short for a docker process that hangs to be found and restarted"
            f" before its keys expire, however short --stuck-timeout is: use {LEAST_TTL} or more"
        )
    host, addresses = flags["docker_address"] == "host", flags["host_addresses"]
    if host != bool(addresses):
        raise click.UsageError("--docker-address host and --host-address must be given together")
    if len({ip_address(text).version for text in addresses}) < len(addresses):
        raise click.UsageError("--host-address: at most one of each family")
    given = [name for name in ("route_gateway4", "route_gateway6", "route_ipvs_method") if flags[name]]
    if given and not flags["route_networks"]:
        raise click.UsageError(f"--{given[0].replace('_', '-')} needs a --route-network")
