"""The flags about health checks."""

import click

from clusterf.health.probe_policy import DENIED, METHODS, parse_denied, parse_methods, parse_networks
from clusterf.lib.addresses import parse_endpoint
from clusterf.lib.options import add_options, each_parsed_by, parsed_by

__all__ = ["health_options"]

_OPTIONS = [
    click.option(
        "--health-processes",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        metavar="N",
        help="Number of processes that share the probing of backends.",
    ),
    click.option(
        "--health-reference",
        "health_references",
        envvar="CLUSTERF_HEALTH_REFERENCE",
        metavar="ADDR:PORT",
        multiple=True,
        callback=each_parsed_by(parse_endpoint),
        help="Probed by TCP when most backends fail at once: if all references fail, too, verdicts are frozen.",
    ),
    click.option(
        "--health-deny",
        metavar="CIDR",
        multiple=True,
        default=DENIED,
        show_default="loopback, link-local, multicast, 0.0.0.0/8, broadcast",
        callback=parsed_by(parse_denied),
        help="Send no probes to this prefix, unless backend and check are from file://. In place of the default ones, "
        "for which the word default stands.",
    ),
    click.option(
        "--health-allow",
        metavar="CIDR",
        multiple=True,
        callback=parsed_by(parse_networks),
        help="Send probes to this prefix though --health-deny has it.",
    ),
    click.option(
        "--health-methods",
        metavar="METHOD,…",
        default=",".join(METHODS),
        show_default=True,
        callback=parsed_by(parse_methods),
        help="The HTTP methods of probes that are sent.",
    ),
]


health_options = add_options(_OPTIONS)
"""Give a command the flags about health checks."""
