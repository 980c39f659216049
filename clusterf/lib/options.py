"""Flags of commands: values parsed by functions that know nothing of click, and flags that several commands share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from clusterf.lib.text import printable

__all__ = ["PrintableErrors", "add_options", "each_parsed_by", "parsed_by"]

A = TypeVar("A")
T = TypeVar("T")
_Callback = Callable[[click.Context, click.Parameter, A], T]
_Command = Callable[..., Any]


class PrintableErrors(click.Command):
    """A command whose errors, those of its subcommands included, are each printed as one line of what is printable."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the command line."""
        with _printable_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _printable_errors():
            return super().invoke(ctx)


@contextmanager
def _printable_errors() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]  # click has no other hook before it prints it
        raise


def parsed_by(parse: Callable[[A], T]) -> _Callback[A | None, T | None]:
    """Return a callback by which a flag's value is what `parse` returns; a flag that was not given stays None.

    A ValueError of `parse` is wrong usage, with its reason.
    """

    def callback(ctx: click.Context, param: click.Parameter, value: A | None) -> T | None:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return callback


def each_parsed_by(parse: Callable[[str], T]) -> _Callback[tuple[str, ...] | None, tuple[T, ...] | None]:
    """Return the like for a flag that may be given several times, whose values are parsed one by one."""
    return parsed_by(lambda texts: tuple(map(parse, texts)))


def add_options(options: Sequence[Callable[[_Command], _Command]]) -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command these options, in this order."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
