import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from clusterf.cli.output import Line, Printer, change_line, node_line, object_line, problem_line, summary_line
from clusterf.config.model import Route
from clusterf.config.problems import Problem
from clusterf.host.nodes import Confirmation
from clusterf.lib.text import printable
from tests.clusterf.support.hostile_etcd import HOSTILE
from tests.examples import examples


def printed(capsys, line):
    """Return the line in plain text, and the fields of its JSON."""
    Printer(as_json=False).all([line])
    Printer(as_json=True).one(line)
    text, fields = capsys.readouterr().out.splitlines()
    return text, json.loads(fields)


def test_object_is_its_key_and_value_on_one_line(capsys):
    text, fields = printed(capsys, object_line(b"routes/a b\n", b'{\n "x": "y\x7f"\n}\n'))
    assert text == r'routes/a\x20b\x0a {"x": "y\u007f"}'
    assert fields == {"key": r"routes/a b\x0a", "value": {"x": "y\x7f"}}


def test_empty_object_is_shown_as_braces(capsys):
    assert printed(capsys, object_line(b"routes/r", b""))[0] == "routes/r {}"


@pytest.mark.parametrize(
    ("before", "after", "text", "change"),
    [
        (None, b'{"x":1}', '+ routes/r {"x": 1}', "added"),
        (b"{}", b'{"x":1}', '~ routes/r {"x": 1}', "changed"),
        (b"{}", None, "- routes/r", "deleted"),
        (None, Route(method="masq"), '+ routes/r {"IPVSMethod": "masq"}', "added"),
    ],
)
def test_change_is_a_sign_with_the_key_and_the_new_value(capsys, before, after, text, change):
    line, fields = printed(capsys, change_line(b"routes/r", before, after))
    assert line == text
    assert fields["change"] == change
    assert ("value" in fields) is (after is not None)


@pytest.mark.parametrize(("fatal", "end"), [(True, ""), (False, " (ignored)")])
def test_problem_is_shown_as_it_is_logged(capsys, fatal, end):
    text, fields = printed(capsys, problem_line(Problem("file:///t", b"routes/r", "x", "unknown field", fatal=fatal)))
    assert text == f"file:///t: routes/r: x: unknown field{end}"
    assert fields == {
        "source": "file:///t",
        "key": "routes/r",
        "field": "x",
        "reason": "unknown field",
        "bad": fatal,
    }


@pytest.mark.parametrize(("error", "shown"), [("", "confirmed"), ("Operation not permitted",) * 2])
def test_node_is_confirmed_or_has_an_error(capsys, error, shown):
    text, fields = printed(capsys, node_line(Confirmation(7, error)))
    assert text == f"clusterf-node 7: {shown}"
    assert fields == {"pid": 7, "told": not error, "reason": error}


def test_summary_lists_its_counts(capsys):
    text, fields = printed(capsys, summary_line("dry run: ", {"put": 1, "left_out": 2}, dry_run=True))
    assert text == "dry run: put 1, left out 2"
    assert fields == {"put": 1, "left_out": 2, "dry_run": True}


texts = st.one_of(st.text(), st.just(HOSTILE), st.just("[red]\n[link=x]"))


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, terminal=st.booleans(), style=st.sampled_from(["", "red"]))
def test_whatever_a_line_holds_it_is_one_printable_line(text, terminal, style, capsys):
    line = Line({"x": text}, (text, "x"), text, style)
    for as_json in (False, True):
        printer = Printer(as_json=as_json)
        if terminal and not as_json:
            printer._console = Console(highlight=False, width=10_000, force_terminal=True, color_system="standard")
        for show in (printer.one, lambda line, printer=printer: printer.all([line])):
            show(line)
            shown, end = capsys.readouterr().out.split("\n")
            assert not end
            plain = re.sub("\x1b\\[[0-9;]*m", "", shown) if terminal and not as_json else shown
            assert printable(plain) == plain
            if as_json:
                assert json.loads(plain) == {"x": text}


@pytest.mark.parametrize("as_json", [False, True])
def test_problem_with_a_hostile_reason_is_one_line_in_each_form(capsys, as_json):
    line = problem_line(Problem(HOSTILE, HOSTILE.encode(), HOSTILE, HOSTILE, fatal=True))
    Printer(as_json=as_json).one(line)
    (shown,) = capsys.readouterr().out.splitlines()
    assert printable(shown) == shown
    assert all(printable(cell) == cell for cell in (*line.cells, line.fields["reason"]))


def test_row_that_is_folded_goes_on_indented(capsys):
    printer = Printer(as_json=False)
    printer._console = Console(highlight=False, width=40, force_terminal=True, color_system=None)
    path = b"services/" + b"routes/evil|" * 20 + b"/frontend"
    printer.all(
        [object_line(path, b'{"x": 1}'), object_line(b"routes/r", json.dumps({"x": "routes/e " * 30}).encode())]
    )
    first, *others = capsys.readouterr().out.splitlines()
    assert first.split()[0] == path[:18].decode()
    assert [line.split()[0] for line in others if not line.startswith("  ")] == ["routes/r"]
    shown = "".join(line[:20].strip() for line in (first, *others))
    assert shown.startswith(path.decode() + "routes/r")
