"""`clusterf-node`, the daemon: checks its flags, then runs the supervisor."""

import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import setproctitle

from actors.node import children_of, dispensable_of, links_of
from actors.options.docker import check_docker, docker_options
from actors.options.health import health_options
from actors.options.ipvs import ipvs_options
from actors.options.settings_file import UNTRUSTED, Seconds, read_toml
from actors.settings import CONFIG, DIRECTOR, DOCKER, Settings
from actors.supervision.directories import runtime_directory, runtime_path, state_directory, state_path
from actors.supervision.locks import lock_table
from actors.supervision.log_relay import LogRelay
from actors.supervision.node_directories import NodeDirectories
from actors.supervision.policy import Policy
from actors.supervision.privileges import Identities, Privileges, choose_identities, holds_for
from actors.supervision.supervisor import Supervisor
from clusterf import __version__
from clusterf.etcd.location import EXPOSED, EtcdCredentials
from clusterf.etcd.options import etcd_credentials, etcd_options
from clusterf.host.users import User
from clusterf.lib import logs
from clusterf.lib.options import PrintableErrors, parsed_by
from clusterf.lib.text import parse_node_name
from clusterf.sources.url import Source, check_tree, parse_source

__all__ = ["main"]

log = logging.getLogger(__name__)


def _parse_sources(urls: tuple[str, ...], access: EtcdCredentials) -> tuple[Source, ...]:
    try:
        if any(url.startswith("etcd") for url in urls):
            access.check()
    except ValueError as error:
        raise click.UsageError(str(error)) from None  # names its flag
    try:
        return tuple(parse_source(url, access) for url in urls)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--config-source'") from None


def _warn_of_passwords(sources: tuple[Source, ...]) -> None:
    for source in sources:
        if source.etcd is not None and source.etcd.exposes_password:
            log.warning("%s: %s", source.url, EXPOSED)


def _check_trees(settings: Settings, user: User | None) -> None:
    """Raise click.BadParameter for a tree that is missing, unless there is a copy of it to start with.

    Files that are `user`'s are read as that user, and not as root.
    """
    for source in settings.sources:
        try:
            check_tree(source)
        except ValueError as error:
            # what reads configuration takes memory, which the supervisor can do without
            from clusterf.sources.last_good import has_copy  # noqa: PLC0415

            if not holds_for(user, partial(has_copy, source.url, settings.config_file)):
                raise click.BadParameter(str(error), param_hint="'--config-source'") from None


@click.command(
    cls=PrintableErrors, context_settings={"auto_envvar_prefix": "CLUSTERF", "help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="clusterf-node")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=read_toml,
    help="TOML file with the same settings; flags and CLUSTERF_... in the environment override it.",
)
@click.option(
    "--role",
    "roles",
    envvar="CLUSTERF_ROLE",
    type=click.Choice(["ipvs", "docker"]),
    multiple=True,
    required=True,
    help="The roles of this node: write IPVS, publish this host's containers, or both.",
)
@click.option(
    "--config-source",
    "sources",
    envvar="CLUSTERF_CONFIG_SOURCE",
    metavar="URL",
    multiple=True,
    required=True,
    help="Configuration source: file:///PATH, etcd://HOST:PORT,…/PREFIX or etcd+https://…; later ones win.",
)
@etcd_options
@click.option("--filter-routes", metavar="URL-PREFIX", default="", help="Use only routes of sources with this prefix.")
@click.option("--noop", is_flag=True, help="Log every IPVS operation and every key to be published; write nothing.")
@click.option("--once", is_flag=True, help="Apply the configuration once, then exit.")
@click.option(
    "--once-timeout",
    type=Seconds(min=0.001),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Timeout of --once, in seconds.",
)
@click.option(
    "--print",
    "print_table",
    envvar="CLUSTERF_PRINT",
    is_flag=True,
    help="Print the table after each apply, as ipvsadm -Sn does.",
)
@click.option("--flush", is_flag=True, help="Empty the table before the first apply.")
@ipvs_options
@health_options
@docker_options
@click.option(
    "--node-name",
    default=socket.gethostname,
    show_default="the host name",
    callback=parsed_by(parse_node_name),
    metavar="NAME",
    help="The name of this node, which the backends carry that it publishes.",
)
@click.option(
    "--resync-interval",
    type=Seconds(min=1),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds between full reads of the kernel's table, the tree and all containers.",
)
@click.option(
    "--stuck-timeout",
    type=Seconds(min=1),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds after which a child process that does not respond is restarted.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of state that survives restarts. [default: /var/lib/clusterf, or the user's own]",
)
@click.option(
    "--runtime-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory in which clusterf finds the node. [default: /run/clusterf, or the user's own]",
)
@click.option(
    "--user",
    metavar="NAME",
    help="Started as root, the user of all processes but those below.  [default: clusterf, or one without a name]",
)
@click.option(
    "--probe-user",
    metavar="NAME",
    help="Started as root, the user of the health processes.  [default: clusterf-probe, or one without a name]",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--log-level", type=click.Choice(logs.LEVELS), default="info", show_default=True)
def main(
    state_dir: Path | None, runtime_dir: Path | None, user: str | None, probe_user: str | None, **flags: Any
) -> None:
    """Keep this machine's IPVS table equal to the configuration, and its containers published.

    Exit status: 0 done; 1 gave up, or could not apply everything; 2 wrong usage
    or settings; 3 applied with --once, but some objects were invalid or in conflict.
    """
    _open_standard_streams()
    setproctitle.setproctitle("clusterf-node: supervisor")
    logs.set_up(flags["log_format"], flags["log_level"])
    flags["sources"] = _parse_sources(flags["sources"], etcd_credentials(flags))
    if "docker" in flags["roles"]:
        check_docker(flags, flags["sources"])
    if (reason := click.get_current_context().meta.get(UNTRUSTED)) is not None:
        log.warning("--config: %s", reason)
    _warn_of_passwords(flags["sources"])
    with ExitStack() as stack:
        identities = choose_identities(
            user, probe_user, state_path(state_dir), runtime_path(runtime_dir), stack, noop=flags["noop"]
        )
        state, lock = state_directory(state_dir, stack, noop=flags["noop"])
        table = lock_table(stack) if "ipvs" in flags["roles"] and not flags["noop"] else None
        settings = _settings(flags, state, runtime_directory(runtime_dir, stack))
        _check_trees(settings, identities.user_of(CONFIG))
        status = _run(settings, identities, [fd for fd in (lock, table) if fd is not None], stack)
    sys.exit(status)


def _settings(flags: Mapping[str, Any], state: Path, runtime: Path) -> Settings:
    roles = tuple(dict.fromkeys(flags["roles"]))
    settings = Settings(**{**flags, "roles": roles}, state_dir=str(state), runtime_dir=str(runtime))
    try:
        msgspec.json.encode(settings)  # as they are sent to the child processes
    except UnicodeEncodeError:
        raise click.UsageError("a URL or a directory is not UTF-8") from None
    return settings


def _run(settings: Settings, identities: Identities, locks: Sequence[int], stack: ExitStack) -> int:
    """Run the node, and return its exit status."""
    assert settings.state_dir is not None
    directories = NodeDirectories(Path(settings.state_dir), Path(settings.runtime_dir).parent, identities.owners)
    directories.prepare()
    stack.callback(directories.clear)

    def keep_directories() -> None:
        directories.keep()
        identities.refresh()

    keep_directories()
    privileges = Privileges(settings, identities, locks)
    relay = LogRelay(json=settings.log_format == "json")
    policy = Policy(stuck_timeout=settings.stuck_timeout)
    stack.callback(relay.close)
    return Supervisor(
        children_of(settings),
        settings,
        policy,
        launch=lambda name: privileges.launch(name)._replace(log=relay.open(name) if name != DIRECTOR else None),
        links=links_of(settings),
        upkeep=keep_directories,
        # its keys expire if it is away for longer
        policies={DOCKER: policy.within(settings.etcd_ttl)},
        dispensable=dispensable_of(settings),
    ).run()


def _open_standard_streams() -> None:
    """Open closed standard streams: a socket of ours must not get their descriptors, which are written to blindly."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


if __name__ == "__main__":
    main()
