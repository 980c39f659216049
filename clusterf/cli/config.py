"""`clusterf config`: show, check, watch and copy the configuration of a source."""

import sys
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import click

from clusterf.cli.output import Printer, change_line, json_option, object_line, problem_line, summary_line
from clusterf.cli.transfer import Change, differences, make_private, write_keys, write_tree
from clusterf.config.model import Value
from clusterf.config.problems import Problem
from clusterf.director.build import build
from clusterf.etcd.client import Client
from clusterf.etcd.endpoints import first_answer
from clusterf.etcd.location import EXPOSED, EtcdLocation
from clusterf.etcd.options import etcd_credentials, etcd_options
from clusterf.lib import logs
from clusterf.lib.text import printable
from clusterf.resolve.virtual_servers import Defaults
from clusterf.sources.reader import KeyContent, follow, read
from clusterf.sources.url import Source, check_tree, parse_source

__all__ = ["config", "problems_of"]


def _of_source(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of all commands that read a source."""
    return etcd_options(json_option(command))


@click.group()
def config() -> None:
    """Show, check, watch and copy configuration.

    A URL is file:///PATH, etcd://HOST:PORT,…/PREFIX or etcd+https://HOST:PORT,…/PREFIX.
    """


@config.command()
@click.argument("url")
@_of_source
def show(url: str, *, as_json: bool, **flags: Any) -> None:
    """Print every valid object at URL as it is written there; `check` prints the others."""
    contents = read(_source(url, flags))
    Printer(as_json=as_json).all(object_line(one.path, one.valid) for one in contents if one.valid is not None)


@config.command()
@click.argument("url")
@_of_source
def check(url: str, *, as_json: bool, **flags: Any) -> None:
    """Print the problems of the objects at URL, and the conflicts between them; exit 1 if an object is bad."""
    contents = read(_source(url, flags))
    if not contents:
        click.echo(printable(f"{url}: empty"), err=True)
    sys.exit(_print_problems(problems_of(contents), Printer(as_json=as_json)))


@config.command()
@click.argument("url")
@_of_source
def watch(url: str, *, as_json: bool, **flags: Any) -> None:
    """Print the objects at URL, then every change and problem as it happens, until interrupted.

    Values are printed as decoded: fields with their default are left out.
    """
    source = _source(url, flags)
    if source.etcd is not None:
        first_answer(
            source.etcd, lambda client: client.list()
        )  # fails if etcd is unreachable now; later failures are retried
    logs.set_up("text", "warning")
    printer = Printer(as_json=as_json)
    known: dict[bytes, Value] = {}
    with suppress(KeyboardInterrupt), closing(follow(source)) as updates:
        for update in chain.from_iterable(updates):
            for problem in update.problems:
                printer.one(problem_line(problem))
            before = known.get(update.path)
            if update.unchanged or update.value == before:
                continue
            if update.value is None:
                del known[update.path]
            else:
                known[update.path] = update.value
            printer.one(change_line(update.path, before, update.value))


@config.command()
@click.argument("places", nargs=2, metavar="DIR URL")
@click.option("--dry-run", is_flag=True, help="Print the difference, write nothing.")
@click.option("--prune", is_flag=True, help="Delete keys that are only in etcd.")
@click.option("--leased", is_flag=True, help="Overwrite and prune also keys that are attached to a lease.")
@_of_source
def load(places: tuple[str, str], *, dry_run: bool, prune: bool, leased: bool, as_json: bool, **flags: Any) -> None:
    """Write the tree DIR into the etcd at URL; print the difference first, as `+`, `~` and `-`.

    Nothing is written if `check` fails for the tree. Keys that are only in etcd are
    kept, unless --prune. Keys attached to a lease, which nodes publish and which expire with
    them, are left alone, unless --leased. DIR and URL may come in either order.
    """
    folder, url, location = _places(places, flags)
    printer = Printer(as_json=as_json)
    wanted = _wanted(folder, printer)
    if prune and not any(value is not None for value in wanted.values()):
        raise click.UsageError(f"{folder} has no objects: with --prune, all keys at {url} would be deleted")
    endpoint, listing = first_answer(location, lambda client: (client.endpoint, client.list()))
    present = dict(listing.items)
    untouched: AbstractSet[bytes] = frozenset() if leased else listing.leases.keys()
    found = differences(wanted, present, prune=prune, keep=untouched)
    changes = [change for change in found if change.path not in untouched]
    skipped = [change.path for change in found if change.path in untouched]
    printer.all(change_line(change.path, change.before, change.after) for change in changes)
    if not dry_run:
        with Client(location, endpoint) as client:
            skipped += write_keys(client, changes, leased=leased)
    printer.all(problem_line(_is_leased(url, path)) for path in skipped)
    if prune and (kept := untouched - wanted.keys()):
        _note_leased(len(kept), "kept", "--leased prunes them too")
    counts = _counts(wanted, present.keys(), [change for change in changes if change.path not in skipped], skipped)
    printer.one(summary_line("dry run: " if dry_run else "", counts, dry_run=dry_run))


def _counts(
    wanted: Mapping[bytes, bytes | None], present: AbstractSet[bytes], done: list[Change], skipped: list[bytes]
) -> dict[str, int]:
    """Return how many keys `load` has put, deleted, found unchanged, kept and, if any, skipped."""
    deleted = sum(change.after is None for change in done)
    kept = len(present - wanted.keys()) - deleted
    put = len(done) - deleted
    missed = sum(path in wanted for path in skipped)
    unchanged = sum(value is not None for value in wanted.values()) - put - missed
    counts = {"put": put, "deleted": deleted, "unchanged": unchanged, "kept": kept}
    return counts | ({"skipped": missed} if missed else {})


def _is_leased(url: str, path: bytes) -> Problem:
    return Problem(url, path, "", "skipped: attached to a lease, so a node publishes it", fatal=False, note=True)


def _note_leased(number: int, what: str, remedy: str) -> None:
    keys = "1 key that is" if number == 1 else f"{number} keys that are"
    click.echo(f"{what} {keys} attached to a lease, which nodes publish; {remedy}", err=True)


def _wanted(folder: Path, printer: Printer) -> dict[bytes, bytes | None]:
    """Return the values that the keys of a tree are to have in etcd, None for unknown keys.

    Raises click.ClickException if an object is bad.
    """
    tree = Source(folder.as_uri(), tree=str(folder))
    try:
        check_tree(tree)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="DIR") from None
    contents = read(tree)
    if _print_problems(problems_of(contents), printer):
        raise click.ClickException("nothing written: the tree has bad objects")
    return {one.path: one.valid.strip() if one.valid is not None else None for one in contents}


@config.command()
@click.argument("places", nargs=2, metavar="URL DIR")
@click.option("--force", is_flag=True, help="Write into DIR even if it is not empty; other files in it are kept.")
@click.option("--leased", is_flag=True, help="Write also keys that are attached to a lease.")
@_of_source
def dump(places: tuple[str, str], *, force: bool, leased: bool, as_json: bool, **flags: Any) -> None:
    """Write the etcd at URL into the tree DIR; exit 1 if a key cannot be a file there.

    DIR must not exist, or be empty. Unknown keys are skipped, and keys attached to a
    lease, which nodes publish and which expire with them, unless --leased. Files and new
    directories are for their owner only, as checks may hold credentials.
    URL and DIR may come in either order.
    """
    folder, url, location = _places(places, flags)
    if not force and folder.exists() and any(folder.iterdir()):
        raise click.BadParameter(f"{folder}: not empty; use --force to write into it", param_hint="DIR")
    listing = first_answer(location, lambda client: client.list())
    make_private(folder)
    printer = Printer(as_json=as_json)
    items = [item for item in listing.items if leased or item.path not in listing.leases]
    problems = list(write_tree(url, items, folder))
    refused = sum(problem.fatal for problem in problems)
    status = _print_problems(problems, printer)
    if omitted := len(listing.items) - len(items):
        _note_leased(omitted, "left out", "--leased writes them too")
    written = len(items) - len(problems)
    printer.one(
        summary_line("", {"written": written, "refused": refused, "left_out": len(problems) - refused + omitted})
    )
    sys.exit(status)


def _source(url: str, flags: dict[str, Any]) -> Source:
    """Return the source at `url`. Raises click.BadParameter."""
    try:
        source = parse_source(url, etcd_credentials(flags))
        check_tree(source)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from None
    if source.etcd is not None and source.etcd.exposes_password:
        click.echo(f"warning: {url}: {EXPOSED}", err=True)
    return source


def _places(places: tuple[str, str], flags: dict[str, Any]) -> tuple[Path, str, EtcdLocation]:
    """Return the directory, the URL, and its location. Raises click.UsageError."""
    urls = [place for place in places if "://" in place]
    folders = [place for place in places if "://" not in place]
    if len(urls) != 1 or urls[0].startswith("file:"):
        raise click.UsageError("expected a directory and a URL that begins with etcd:// or etcd+https://")
    location = _source(urls[0], flags).etcd
    if location is None:
        raise click.BadParameter(f"{urls[0]}: not an etcd URL", param_hint="URL")
    return Path(folders[0]).absolute(), urls[0], location


def _print_problems(problems: list[Problem], printer: Printer) -> int:
    """Print the problems; return the exit status: 1 if one is fatal."""
    printer.all(map(problem_line, problems))
    return int(any(problem.fatal for problem in problems))


def problems_of(contents: list[KeyContent]) -> list[Problem]:
    """Return the problems of single objects, then the conflicts between objects."""
    updates = [content.update for content in contents]
    objects = {update.key: update.value for update in updates if update.key is not None and update.value is not None}
    return [problem for update in updates for problem in update.problems] + build(objects, Defaults())[1]
