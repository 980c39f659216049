import click
import pytest
from click.testing import CliRunner

from clusterf.lib.options import PrintableErrors, add_options, each_parsed_by, parsed_by
from clusterf.lib.text import printable
from tests.clusterf.support.hostile_etcd import HOSTILE

OPTIONS = [
    click.option("--one", callback=parsed_by(int)),
    click.option("--many", multiple=True, callback=each_parsed_by(int)),
]


@click.command()
@add_options(OPTIONS)
def show(one, many):
    click.echo(repr((one, many)))


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ([], "(None, ())"),
        (["--one", "1"], "(1, ())"),
        (["--many", "1", "--many", "2"], "(None, (1, 2))"),
    ],
)
def test_flags_have_their_parsed_values(flags, shown):
    assert CliRunner().invoke(show, flags).output == f"{shown}\n"


@pytest.mark.parametrize("flags", [["--one", "x"], ["--many", "1", "--many", "x"]])
def test_value_error_is_wrong_usage_with_its_reason(flags):
    result = CliRunner().invoke(show, flags)
    assert result.exit_code == 2
    assert f"Invalid value for '{flags[0]}': invalid literal for int() with base 10: 'x'" in result.output


def test_options_are_shown_in_their_order():
    lines = CliRunner().invoke(show, ["--help"]).output.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  --")] == ["--one", "--many", "--help"]


@click.group(cls=type("Group", (PrintableErrors, click.Group), {}))
def group():
    pass


@group.command()
@click.argument("text")
def fail(text):
    raise click.ClickException(text)


@group.command()
@click.argument("number", callback=parsed_by(lambda text: int(text[0])))
def count(number):
    click.echo(number)


@pytest.mark.parametrize("command", ["fail", "count", "nothing\n\x1b"])
def test_error_is_one_printable_line(command):
    lines = CliRunner().invoke(group, [command, HOSTILE], terminal_width=1000).output.split("\n")
    assert all(printable(line) == line for line in lines)
    assert not any(line.startswith("ipvs") for line in lines)
