"""`clusterf`, the tool for people: look at configurations, move them, talk to nodes.

Exit status: 0 done; 1 something is bad, or there was trouble; 2 wrong usage.
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
from clusterf.host.nodes import confirm as confirm_nodes
from clusterf.host.nodes import default_runtime_directory
from clusterf.lib import logs

__all__ = ["main"]


class _Tool(click.Group):
    """Commands whose expected trouble is one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what etcd or the file system says against it is said to the user."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read has had enough, which click takes care of
        except EtcdError as error:
            raise click.ClickException(" ".join(str(error).split())) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from None


@click.group(cls=_Tool, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clusterf")
def main() -> None:
    """See clusterf configurations, move them, and talk to nodes."""
    logs.set_up("text", "error")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the locale has no letters for


main.add_command(config)
main.add_command(doctor)


@config.command()
@click.option(
    "--runtime-dir",
    envvar="CLUSTERF_RUNTIME_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="As the node has it. [default: /run/clusterf, or the user's own]",
)
@json_option
def confirm(runtime_dir: Path | None, *, as_json: bool) -> None:
    """Let the nodes of this machine do what they hold.

    That is the removal of most virtual servers at once. Exit 1 if there is no node, or one that cannot be told.
    """
    runtime = runtime_dir or default_runtime_directory()
    told = list(confirm_nodes(runtime))
    Printer(as_json=as_json).all(map(node_line, told))
    if not told:
        raise click.ClickException(f"no clusterf-node runs with the runtime directory {runtime}")
    sys.exit(any(one.trouble for one in told))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands and flags in a shell."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    click.echo(kind(main, {}, "clusterf", "_CLUSTERF_COMPLETE").source())


if __name__ == "__main__":
    main()
