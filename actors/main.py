"""`clusterf-node`, the daemon: its flags, checked, and the supervisor."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec
import setproctitle

from actors.node import children_of
from actors.options.docker import check_docker, docker_options
from actors.options.ipvs import ipvs_options
from actors.options.settings_file import Seconds, read_toml
from actors.settings import DIRECTOR, DOCKER, Settings
from actors.supervision.child_process import Policy
from actors.supervision.directories import runtime_directory, state_directory
from actors.supervision.supervisor import Supervisor
from clusterf import __version__
from clusterf.etcd.location import EtcdCredentials
from clusterf.etcd.options import etcd_credentials, etcd_options
from clusterf.lib import logs
from clusterf.lib.addresses import parse_endpoint
from clusterf.lib.options import each_parsed_by
from clusterf.sources.url import Source, check_tree, parse_source

__all__ = ["main"]


def _parse_sources(urls: tuple[str, ...], access: EtcdCredentials) -> tuple[Source, ...]:
    try:
        sources = tuple(parse_source(url, access) for url in urls)
        for source in sources:
            check_tree(source)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--config-source'") from None
    return sources


@click.command(context_settings={"auto_envvar_prefix": "CLUSTERF", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clusterf-node")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=read_toml,
    help="TOML file with the same settings; flags and CLUSTERF_... in the environment win over it.",
)
@click.option(
    "--role",
    "roles",
    envvar="CLUSTERF_ROLE",
    type=click.Choice(["ipvs", "docker"]),
    multiple=True,
    required=True,
    help="What this node does: write IPVS, publish this host's containers, or both.",
)
@click.option(
    "--config-source",
    "sources",
    envvar="CLUSTERF_CONFIG_SOURCE",
    metavar="URL",
    multiple=True,
    required=True,
    help="Where configuration comes from: file:///PATH, etcd://HOST:PORT,…/PREFIX or etcd+https://…; later ones win.",
)
@etcd_options
@click.option("--filter-routes", metavar="URL-PREFIX", default="", help="Take routes only from sources that begin so.")
@click.option("--noop", is_flag=True, help="Log every IPVS operation, and what would be published; write nothing.")
@click.option("--once", is_flag=True, help="Apply the configuration once, then exit.")
@click.option(
    "--once-timeout",
    type=Seconds(min=0.001),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds that --once may take.",
)
@click.option(
    "--print",
    "print_table",
    envvar="CLUSTERF_PRINT",
    is_flag=True,
    help="Print the table, as ipvsadm -Sn does, after each apply.",
)
@click.option("--flush", is_flag=True, help="Empty the table before the first apply.")
@ipvs_options
@click.option(
    "--removal-hold",
    type=Seconds(min=0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds for which the removal of most virtual servers at once is held; 0: it is not.",
)
@click.option(
    "--health-processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that share the probing of backends.",
)
@click.option(
    "--health-reference",
    "health_references",
    envvar="CLUSTERF_HEALTH_REFERENCE",
    metavar="ADDR:PORT",
    multiple=True,
    callback=each_parsed_by(parse_endpoint),
    help="Is asked by TCP when most backends fail at once: if it fails too, the fault is ours, and verdicts stay.",
)
@docker_options
@click.option(
    "--resync-interval",
    type=Seconds(min=1),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds between looks at the whole kernel table, the whole tree and all containers.",
)
@click.option(
    "--stuck-timeout",
    type=Seconds(min=1),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds after which a child process that does not answer is restarted.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="What is remembered across restarts. [default: /var/lib/clusterf, or the user's own]",
)
@click.option(
    "--runtime-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Sockets between the processes. [default: /run/clusterf, or the user's own]",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--log-level", type=click.Choice(logs.LEVELS), default="info", show_default=True)
def main(state_dir: Path | None, runtime_dir: Path | None, **flags: Any) -> None:
    """Make this machine's IPVS table what the configuration says, publish its containers, and keep it so.

    Exit status: 0 done; 1 gave up, or could not apply all; 2 wrong usage or
    settings; 3 applied with --once, but some objects were bad or in conflict.
    """
    _open_standard_streams()
    setproctitle.setproctitle("clusterf-node: supervisor")
    logs.set_up(flags["log_format"], flags["log_level"])
    flags["sources"] = _parse_sources(flags["sources"], etcd_credentials(flags))
    if "docker" in flags["roles"]:
        check_docker(flags, flags["sources"])
    with ExitStack() as stack:
        state, lock = state_directory(state_dir, stack, noop=flags["noop"])
        runtime = runtime_directory(runtime_dir, stack)
        settings = Settings(
            **{**flags, "roles": tuple(dict.fromkeys(flags["roles"]))}, state_dir=str(state), runtime_dir=str(runtime)
        )
        try:
            msgspec.json.encode(settings)  # as the children get them
        except UnicodeEncodeError:
            raise click.UsageError("a URL or a directory has bytes that are not UTF-8") from None
        policy = Policy(stuck_timeout=settings.stuck_timeout)
        status = Supervisor(children_of(settings), settings, policy, held={DIRECTOR: lock, DOCKER: lock}).run()
    sys.exit(status)


def _open_standard_streams() -> None:
    """Have something at the descriptors that are written to without a look; sockets of ours must not get there."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


if __name__ == "__main__":
    main()
