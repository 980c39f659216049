import json

import pytest

from clusterf.cli.output import Printer, change_line, node_line, object_line, problem_line, summary_line
from clusterf.config.model import Route
from clusterf.config.problems import Problem
from clusterf.host.nodes import Confirmation


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
