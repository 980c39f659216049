"""The tool `clusterf`, run in the process of the test, and a valid tree for it."""

from pathlib import Path

from click.testing import CliRunner, Result

from clusterf.cli.main import main

__all__ = ["clusterf", "valid_tree", "write"]


def clusterf(*arguments: object) -> Result:
    """Run the command, which must not fail with an exception."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def valid_tree(folder: Path) -> Path:
    """Write a tree without problems; return it."""
    return write(
        folder,
        {
            "services/web/frontend": '{"ipv4": "10.0.0.1",\n "tcp": 80}\n',
            "services/web/backends/1": '{"ipv4":"10.1.0.1","tcp":8080}',
            "routes/r": "",
        },
    )


def write(folder: Path, texts: dict[str, str]) -> Path:
    """Write files below a folder; return that."""
    for key, text in texts.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
