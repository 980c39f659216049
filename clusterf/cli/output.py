r"""The output of the tool: plain lines, JSON lines, or on a terminal aligned columns with colours.

Each result is a `Line`, which has all three forms. In plain lines the spaces of
a name are `\x20`, so that a key is always one word.

The fields of JSON lines:

* an object: `key`, `value`;
* a change: `change` (`added`, `changed` or `deleted`), `key` and, unless it
  was deleted, `value`;
* a problem: `source`, `key`, `field` (empty: the whole object), `reason`,
  `bad` (false: a warning);
* the summary, last: `load` has `put`, `deleted`, `unchanged`, `kept`, if there
  are any `skipped`, and `dry_run`; `dump` has `written`, `refused`, `left_out`;
* a node that was sent a confirmation: `pid`, `told` (whether it was), `reason` (why not);
* a finding of `doctor`: `level` (`ok`, `warn` or `bad`), `check`, `text`,
  `command` (the shell command that fixes it; empty: there is none).
"""

import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import click
import msgspec
from rich.cells import chop_cells
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clusterf.config.encode import to_json
from clusterf.config.model import Value
from clusterf.config.problems import Problem
from clusterf.host.nodes import Confirmation
from clusterf.lib.text import escape, printable, printable_json

__all__ = ["Line", "Printer", "change_line", "json_option", "node_line", "object_line", "problem_line", "summary_line"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
_SIGNS = {"added": ("+", "green"), "changed": ("~", "yellow"), "deleted": ("-", "red")}


class Line(NamedTuple):
    """One result: its fields in JSON, its columns on a terminal and their style, its plain text."""

    fields: dict[str, Any]
    cells: tuple[str, ...]
    text: str
    style: str = ""


class Printer:
    """Prints lines as JSON, as plain text, or for a terminal; none can be continued by what it holds."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._console = Console(highlight=False) if sys.stdout.isatty() and not as_json else None

    def one(self, line: Line) -> None:
        """Print one line at once."""
        if self._json:
            click.echo(printable_json(msgspec.json.encode(line.fields).decode()))
        elif self._console is None:
            click.echo(printable(line.text))
        else:
            self._console.print(Text(printable(line.text), style=line.style), soft_wrap=True)

    def all(self, lines: Iterable[Line]) -> None:
        """Print lines of one kind, on a terminal with aligned columns."""
        if self._console is None:
            for line in lines:
                self.one(line)
            return
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        for line in lines:
            first, *others = map(printable, line.cells)
            cells = (_folded(first, self._console.width // 2) if others else first, *others)
            table.add_row(*(Text(cell, style=line.style, overflow="fold") for cell in cells))
        if table.row_count:
            self._console.print(table)


def _folded(cell: str, width: int) -> str:
    """Return the first cell of a row on lines of that width, the later ones indented, as no row is."""
    return "\n  ".join(chop_cells(cell, max(2, width - 2)))


def object_line(path: bytes, raw: bytes) -> Line:
    """Return the line of an object as it is written in the source."""
    name, value = _word(path), _on_one_line(raw)
    return Line({"key": escape(path), "value": msgspec.Raw(value.encode())}, (name, value), f"{name} {value}")


def change_line(path: bytes, before: object, after: bytes | Value | None) -> Line:
    """Return the line of a change: bytes are shown as they are written in the source, values as they were decoded."""
    change = "added" if before is None else "deleted" if after is None else "changed"
    sign, style = _SIGNS[change]
    fields: dict[str, Any] = {"change": change, "key": escape(path)}
    if after is None:
        return Line(fields, (sign, _word(path), ""), f"{sign} {_word(path)}", style)
    value = _on_one_line(after if isinstance(after, bytes) else to_json(after))
    fields["value"] = msgspec.Raw(value.encode())
    return Line(fields, (sign, _word(path), value), f"{sign} {_word(path)} {value}", style)


def problem_line(problem: Problem) -> Line:
    """Return the line of a problem, as it is logged."""
    source, field, reason = map(printable, (problem.source, problem.field, problem.reason))
    fields = {"source": source, "key": escape(problem.path), "field": field, "reason": reason, "bad": problem.fatal}
    text = str(problem) if problem.fatal or problem.note else f"{problem} (ignored)"
    return Line(fields, (source, escape(problem.path), field, reason), text, "red" if problem.fatal else "yellow")


def node_line(node: Confirmation) -> Line:
    """Return the line of a node that was sent a confirmation, or could not be."""
    text = f"clusterf-node {node.pid}: {node.error or 'confirmed'}"
    fields = {"pid": node.pid, "told": not node.error, "reason": node.error}
    return Line(fields, (text,), text, "red" if node.error else "green")


def summary_line(prefix: str, counts: dict[str, int], **more: bool) -> Line:
    """Return the line of the counts of what was done; `prefix` is `dry run: ` if it was not."""
    text = prefix + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
    return Line(counts | more, (text,), text, "bold")


def _on_one_line(raw: bytes) -> str:
    """Return the JSON in `raw`, which must be valid, on one line."""
    text = raw.decode().strip() or "{}"
    return printable_json(msgspec.json.format(text, indent=0))


def _word(path: bytes) -> str:
    return escape(path).replace(" ", r"\x20")
