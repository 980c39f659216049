"""`clusterf-node`, the daemon: its flags, checked, and the supervisor."""

import fcntl
import os
import shutil
import sys
import tempfile
import tomllib
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click
import setproctitle

from actors.node import children_of
from actors.supervisor import Policy, Supervisor
from clusterf import __version__, logs
from clusterf.settings import Settings
from clusterf.source import Source, check_tree, parse_source
from clusterf.table import SCHEDULERS

__all__ = ["main"]


def _parse_sources(ctx: click.Context, param: click.Parameter, urls: tuple[str, ...]) -> tuple[Source, ...]:
    try:
        sources = tuple(map(parse_source, urls))
        for source in sources:
            check_tree(source)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return sources


def _parse_networks(ctx: click.Context, param: click.Parameter, cidrs: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(cidr, strict=False)) for cidr in cidrs)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _read_toml(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Take the file's keys as defaults: they yield to the environment and to flags."""
    if path is None:
        return None
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path}: {error}", ctx, param) from None
    names = {option.removeprefix("--"): p.name for p in ctx.command.params for option in p.opts}
    unknown = [key for key in table if key not in names or key == "config"]
    if unknown:
        raise click.BadParameter(f"{path}: no such setting: {', '.join(unknown)}", ctx, param)
    ctx.default_map = {names[key]: value for key, value in table.items()}
    return path


@click.command(context_settings={"auto_envvar_prefix": "CLUSTERF", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clusterf-node")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_read_toml,
    help="TOML file with the same settings; flags and CLUSTERF_... in the environment win over it.",
)
@click.option("--role", "roles", type=click.Choice(["ipvs"]), multiple=True, required=True, help="What this node does.")
@click.option(
    "--config-source",
    "sources",
    metavar="URL",
    multiple=True,
    required=True,
    callback=_parse_sources,
    help="Where configuration comes from, e.g. file:///etc/clusterf; of several, later ones win by key.",
)
@click.option("--filter-routes", metavar="URL-PREFIX", default="", help="Take routes only from sources that begin so.")
@click.option("--noop", is_flag=True, help="Log every IPVS operation, write none.")
@click.option("--once", is_flag=True, help="Apply the configuration once, then exit.")
@click.option(
    "--once-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds that --once may take.",
)
@click.option("--print", "print_table", is_flag=True, help="Print the table, as ipvsadm -Sn does, after each apply.")
@click.option("--flush", is_flag=True, help="Empty the table before the first apply.")
@click.option(
    "--ipvs-scheduler",
    type=click.Choice(sorted(SCHEDULERS)),
    default="wlc",
    show_default=True,
    help="Scheduler of frontends that name none.",
)
@click.option(
    "--ipvs-forward-method",
    type=click.Choice(["masq", "droute", "tunnel"]),
    default="masq",
    show_default=True,
    help="How backends without a route are reached.",
)
@click.option("--ipvs-elide", is_flag=True, help="Leave out virtual servers without real servers.")
@click.option(
    "--ipvs-exclude",
    metavar="CIDR",
    multiple=True,
    callback=_parse_networks,
    help="Leave virtual servers with such addresses alone.",
)
@click.option(
    "--resync-interval",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds between looks at the whole kernel table and the whole tree.",
)
@click.option(
    "--stuck-timeout",
    type=click.FloatRange(min=1),
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
    """Make this machine's IPVS table what the configuration says, and keep it so.

    Exit status: 0 done; 1 gave up, or could not apply all; 2 wrong usage or
    settings; 3 applied with --once, but some objects were bad or in conflict.
    """
    setproctitle.setproctitle("clusterf-node: supervisor")
    logs.set_up(flags["log_format"], flags["log_level"])
    with ExitStack() as stack:
        state = _state_dir(state_dir, noop=flags["noop"], stack=stack)
        runtime = _runtime_dir(runtime_dir, stack)
        settings = Settings(
            **{**flags, "roles": tuple(dict.fromkeys(flags["roles"]))}, state_dir=str(state), runtime_dir=str(runtime)
        )
        policy = Policy(stuck_timeout=settings.stuck_timeout)
        status = Supervisor(children_of(settings), settings, policy).run()
    sys.exit(status)


def _state_dir(path: Path | None, *, noop: bool, stack: ExitStack) -> Path:
    """Return the state directory, locked unless nothing is to be written to the kernel."""
    given = path
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    path = (path or (Path("/var/lib") if os.geteuid() == 0 else home) / "clusterf").absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "not writable")
    except OSError as error:
        if given is None and noop:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clusterf-")))
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="'--state-dir'") from None
    if not noop:
        lock = stack.enter_context((path / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise click.ClickException(f"another clusterf-node writes with the state directory {path}") from None
    return path


def _runtime_dir(path: Path | None, stack: ExitStack) -> Path:
    """Return a directory of this node's own, below the runtime directory; it goes when the node ends."""
    own = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"clusterf-{os.geteuid()}"
    path = (path or (Path("/run/clusterf") if os.geteuid() == 0 else own)).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(path)
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"node-{os.getpid()}-", dir=path)))
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="'--runtime-dir'") from None


def _sweep(path: Path) -> None:
    """Remove what nodes that were killed have left behind."""
    for left in path.glob("node-*-*"):
        pid = left.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    main()
