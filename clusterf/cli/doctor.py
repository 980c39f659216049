"""`clusterf doctor`: whether this machine has what a director or a real server needs."""

import sys

import click

from clusterf.cli.output import Line, Printer, json_option
from clusterf.doctor.checks import check_director, check_real_server
from clusterf.doctor.model import Finding
from clusterf.ipvs.table import SCHEDULERS
from clusterf.lib.addresses import IPAddress, parse_real_server_address
from clusterf.lib.options import each_parsed_by
from clusterf.lib.text import printable
from clusterf.reconcile.options import sysctls_of
from clusterf.reconcile.sysctls import RECOMMENDED

__all__ = ["doctor", "finding_line"]

_STYLES = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command()
@click.option(
    "--role",
    type=click.Choice(["director", "real-server"]),
    default="director",
    show_default=True,
    help="The part of this machine: it writes IPVS, or it receives packets by droute or tunnel.",
)
@click.option(
    "--vip",
    "vips",
    metavar="ADDR",
    multiple=True,
    callback=each_parsed_by(parse_real_server_address),
    help="An address that this machine must have.",
)
@click.option(
    "--ipvs-sysctl",
    envvar="CLUSTERF_IPVS_SYSCTL",
    metavar="NAME=VALUE,…",
    default="on",
    callback=sysctls_of,
    help="The settings of IPVS that a director must have. [default: the recommended ones]",
)
@json_option
def doctor(role: str, vips: tuple[IPAddress, ...], ipvs_sysctl: tuple[tuple[str, int], ...], *, as_json: bool) -> None:
    """Check whether this machine has what it needs, and print commands that fix what it lacks; change nothing.

    Exit 1 if anything is bad, 0 if there are warnings only.
    """
    # pyroute2 takes 20 MB, and no other command needs it
    from clusterf.doctor.facts import gather  # noqa: PLC0415

    facts = gather()
    if role == "director":
        findings = list(check_director(facts, sorted(SCHEDULERS), dict(ipvs_sysctl) or RECOMMENDED, vips))
    else:
        findings = list(check_real_server(facts, vips))
    Printer(as_json=as_json).all(map(finding_line, findings))
    sys.exit(any(finding.level == "bad" for finding in findings))


def finding_line(finding: Finding) -> Line:
    """Return the line of a finding."""
    # a text may contain the name of an interface, which may be any bytes
    level, check, text, command = finding.level, finding.check, printable(finding.text), printable(finding.command)
    plain = f"{level}: {check}: {text}" + f"; run: {command}" * bool(command)
    return Line(finding._asdict(), (level, check, text, command), plain, _STYLES[level])
