"""`clusterf config`: see, check and move what a source of configuration holds."""

import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click

from clusterf.cli.output import Printer, change_line, json_option, object_line, problem_line, summary_line
from clusterf.cli.transfer import differences, write_keys, write_tree
from clusterf.config.model import Value
from clusterf.config.problems import Problem
from clusterf.director.build import build
from clusterf.director.virtual_servers import Defaults
from clusterf.etcd.location import EtcdLocation
from clusterf.etcd.options import access_of, etcd_options
from clusterf.lib import logs
from clusterf.sources.reader import Found, connect, follow, read
from clusterf.sources.url import Source, check_tree, parse_source

__all__ = ["config", "problems_of"]


def _of_source(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have which read a source."""
    return etcd_options(json_option(command))


@click.group()
def config() -> None:
    """See, check and move configuration.

    A URL is file:///PATH, etcd://HOST:PORT,…/PREFIX or etcd+https://HOST:PORT,…/PREFIX.
    """


@config.command()
@click.argument("url")
@_of_source
def show(url: str, *, as_json: bool, **flags: Any) -> None:
    """Print every good object at URL as it is written there; `check` tells of the others."""
    found = read(_source(url, flags))
    Printer(as_json=as_json).all(object_line(one.path, one.good) for one in found if one.good is not None)


@config.command()
@click.argument("url")
@_of_source
def check(url: str, *, as_json: bool, **flags: Any) -> None:
    """Print what is wrong at URL, object by object and between them; exit 1 if anything is bad."""
    found = read(_source(url, flags))
    if not found:
        click.echo(f"{url}: holds nothing", err=True)
    sys.exit(_print_problems(problems_of(found), Printer(as_json=as_json)))


@config.command()
@click.argument("url")
@_of_source
def watch(url: str, *, as_json: bool, **flags: Any) -> None:
    """Print what is at URL, then every change and problem as it happens, until interrupted.

    Values are printed as they are understood: without what has its default.
    """
    source = _source(url, flags)
    if source.etcd is not None:
        connect(source.etcd)[0].close()  # at the start trouble is the end; later on it passes
    logs.set_up("text", "warning")
    printer = Printer(as_json=as_json)
    known: dict[bytes, Value] = {}
    with suppress(KeyboardInterrupt), closing(follow(source)) as news:
        for said in (one for batch in news for one in batch):
            for problem in said.problems:
                printer.one(problem_line(problem))
            before = known.get(said.path)
            if said.keep or said.value == before:
                continue
            if said.value is None:
                del known[said.path]
            else:
                known[said.path] = said.value
            printer.one(change_line(said.path, before, said.value))


@config.command()
@click.argument("places", nargs=2, metavar="DIR URL")
@click.option("--dry-run", is_flag=True, help="Print the difference, write nothing.")
@click.option("--prune", is_flag=True, help="Delete what is in etcd only, also what other nodes publish there.")
@_of_source
def load(places: tuple[str, str], *, dry_run: bool, prune: bool, as_json: bool, **flags: Any) -> None:
    """Write the tree DIR into the etcd at URL; print the difference first, as `+`, `~` and `-`.

    Nothing is written if `check` finds anything bad in the tree. What etcd has
    beside it stays, unless --prune. The two places may come in either order.
    """
    folder, url, location = _places(places, flags)
    printer = Printer(as_json=as_json)
    wanted = _wanted(folder, printer)
    if prune and not any(value is not None for value in wanted.values()):
        raise click.UsageError(f"{folder} holds no objects: with --prune all that is at {url} would be deleted")
    client, listing = connect(location)
    with client:
        present = dict(listing.items)
        changes = differences(wanted, present, prune=prune)
        printer.all(change_line(change.path, change.before, change.after) for change in changes)
        if not dry_run:
            write_keys(client, changes)
    deleted = sum(change.after is None for change in changes)
    kept = len(present.keys() - wanted.keys()) - deleted
    put = len(changes) - deleted
    unchanged = sum(value is not None for value in wanted.values()) - put
    counts = {"put": put, "deleted": deleted, "unchanged": unchanged, "kept": kept}
    printer.one(summary_line("dry run: " if dry_run else "", counts, dry_run=dry_run))


def _wanted(folder: Path, printer: Printer) -> dict[bytes, bytes | None]:
    """Return what the keys of a tree are to hold in etcd, None for those that mean nothing.

    Raises click.ClickException if anything is bad.
    """
    tree = Source(folder.as_uri(), tree=str(folder))
    try:
        check_tree(tree)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="DIR") from None
    found = read(tree)
    if _print_problems(problems_of(found), printer):
        raise click.ClickException("nothing was written, as the tree is bad")
    return {one.path: one.good.strip() if one.good is not None else None for one in found}


@config.command()
@click.argument("places", nargs=2, metavar="URL DIR")
@click.option("--force", is_flag=True, help="Write into DIR even if there is something in it; what etcd lacks stays.")
@_of_source
def dump(places: tuple[str, str], *, force: bool, as_json: bool, **flags: Any) -> None:
    """Write the etcd at URL into the tree DIR; exit 1 if a key cannot be a file there.

    DIR must not exist, or be empty. Keys that are no known ones are left out.
    The two places may come in either order.
    """
    folder, url, location = _places(places, flags)
    if not force and folder.exists() and any(folder.iterdir()):
        raise click.BadParameter(f"{folder}: not empty; --force writes into it", param_hint="DIR")
    client, listing = connect(location)
    client.close()
    folder.mkdir(parents=True, exist_ok=True)
    printer = Printer(as_json=as_json)
    problems = list(write_tree(url, listing.items, folder))
    refused = sum(problem.fatal for problem in problems)
    status = _print_problems(problems, printer)
    written = len(listing.items) - len(problems)
    printer.one(summary_line("", {"written": written, "refused": refused, "left_out": len(problems) - refused}))
    sys.exit(status)


def _source(url: str, flags: dict[str, Any]) -> Source:
    """Return the source at `url`. Raises click.BadParameter where there is none."""
    try:
        source = parse_source(url, access_of(flags))
        check_tree(source)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from None
    return source


def _places(places: tuple[str, str], flags: dict[str, Any]) -> tuple[Path, str, EtcdLocation]:
    """Return the directory, and the URL and what it names. Raises click.UsageError."""
    urls = [place for place in places if "://" in place]
    folders = [place for place in places if "://" not in place]
    if len(urls) != 1 or urls[0].startswith("file:"):
        raise click.UsageError("needs a directory and a URL that begins with etcd:// or etcd+https://")
    location = _source(urls[0], flags).etcd
    if location is None:
        raise click.BadParameter(f"{urls[0]}: no etcd", param_hint="URL")
    return Path(folders[0]).absolute(), urls[0], location


def _print_problems(problems: list[Problem], printer: Printer) -> int:
    """Print the problems, and return the exit status that they make."""
    printer.all(map(problem_line, problems))
    return int(any(problem.fatal for problem in problems))


def problems_of(found: list[Found]) -> list[Problem]:
    """Return what is wrong with single objects, then what is between them."""
    said = [one.said for one in found]
    objects = {one.key: one.value for one in said if one.key is not None and one.value is not None}
    return [problem for one in said for problem in one.problems] + build(objects, Defaults())[1]
