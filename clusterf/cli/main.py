"""`clusterf`, the tool for people: show and move configurations, check machines, signal nodes.

Exit status: 0 done; 1 something is bad, or an error; 2 wrong usage.
"""

import io
import sys
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from clusterf import __version__
from clusterf.cli.config import config
from clusterf.cli.doctor import doctor
from clusterf.cli.output import Printer, json_option, node_line
from clusterf.etcd.errors import EtcdError
from clusterf.host.nodes import confirm_nodes, runtime_directories
from clusterf.lib import logs
from clusterf.lib.options import PrintableErrors
from clusterf.lib.text import printable

__all__ = ["main"]


class _Tool(PrintableErrors, click.Group):
    """Commands whose expected errors are one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of etcd or of the file system is printed in one line."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader is gone; click handles that
        except EtcdError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(printable(f"{where}{error.strerror or error}")) from None


@click.group(cls=_Tool, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clusterf")
def main() -> None:
    """Show, check and move clusterf configurations; check machines; signal nodes."""
    logs.set_up("text", "error")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the locale cannot encode


main.add_command(config)
main.add_command(doctor)


@config.command()
@click.option(
    "--runtime-dir",
    envvar="CLUSTERF_RUNTIME_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The runtime directory of the node. [default: /run/clusterf and /run/clusterf-*, or the user's own]",
)
@json_option
def confirm(runtime_dir: Path | None, *, as_json: bool) -> None:
    """Have the nodes of this machine carry out the removals that they hold.

    A node holds the removal of most virtual servers at once. Exit 1 if no node runs, or one cannot be signalled.
    """
    runtimes = [runtime_dir] if runtime_dir is not None else runtime_directories()
    confirmed = list(confirm_nodes(runtimes))
    Printer(as_json=as_json).all(map(node_line, confirmed))
    if not confirmed:
        raise click.ClickException(f"no clusterf-node runs with the runtime directory {', '.join(map(str, runtimes))}")
    sys.exit(any(one.error for one in confirmed))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands and flags in a shell."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    click.echo(kind(main, {}, "clusterf", "_CLUSTERF_COMPLETE").source())


if __name__ == "__main__":
    main()
