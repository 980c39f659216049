"""`clusterf`, the tool for people: look at a configuration before a node does."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from clusterf import __version__
from clusterf.build import build
from clusterf.codec import Problem
from clusterf.filetree import Entry, FileTree
from clusterf.names import escape
from clusterf.resolve import Defaults
from clusterf.source import Said, SourceState, check_tree, parse_source
from clusterf.state import KeyedStore

__all__ = ["main"]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clusterf")
def main() -> None:
    """Look at clusterf configurations."""


@main.group()
def config() -> None:
    """See and check what a source of configuration holds."""


@config.command()
@click.argument("url")
@_json_option
def show(url: str, *, as_json: bool) -> None:
    """Print every good object at URL as it is written there; `check` tells of the others."""
    for entry, said in sorted(_read(url), key=lambda pair: pair[0].path):
        if said.value is None or entry.raw is None:
            continue
        raw = msgspec.json.format(entry.raw.strip() or b"{}", indent=0).decode()
        if as_json:
            click.echo(msgspec.json.encode({"key": escape(said.path), "value": msgspec.Raw(raw.encode())}))
        else:
            click.echo(f"{escape(said.path)} {raw}")


@config.command()
@click.argument("url")
@_json_option
def check(url: str, *, as_json: bool) -> None:
    """Print what is wrong at URL, object by object and between them; exit 1 if anything is bad."""
    said = [said for _, said in _read(url)]
    problems = [problem for one in said for problem in one.problems]
    objects = {one.key: one.value for one in said if one.key is not None and one.value is not None}
    problems += build(objects, Defaults())[1]
    for problem in problems:
        click.echo(_as_json(problem) if as_json else str(problem))
    sys.exit(1 if any(problem.fatal for problem in problems) else 0)


def _as_json(problem: Problem) -> bytes:
    parts = {"source": problem.source, "key": escape(problem.path), "field": problem.field}
    return msgspec.json.encode({**parts, "reason": problem.reason, "bad": problem.fatal})


def _read(url: str) -> Iterator[tuple[Entry, Said]]:
    """Yield what is at each path of the source, and what that says. Raises click.BadParameter where there is none."""
    try:
        source = parse_source(url)
        check_tree(source)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from None
    state = SourceState(source.url, KeyedStore(None))
    for entry in FileTree(Path(source.tree or "")).look(b"", reread=True):
        if entry.trouble:
            yield from ((entry, said) for said in state.unreadable(entry.path, entry.trouble))
        else:
            yield entry, state.put(entry.path, entry.raw)
