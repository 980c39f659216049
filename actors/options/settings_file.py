"""The TOML file of `--config`, and the type of flags that are times."""

import math
import os
import stat
import tomllib
from pathlib import Path
from typing import Any, Final

import click

from clusterf.lib.files.trusted import UntrustedError, check_file
from clusterf.lib.text import printable

__all__ = ["UNTRUSTED", "Seconds", "read_toml"]

UNTRUSTED: Final = "clusterf.untrusted"
"""Where a command's context has the reason why others may have written the file."""
_LONGEST: Final = 1 << 20  # bytes
_SHOWN: Final = 200  # characters of what is in the file


class Seconds(click.FloatRange):
    """A number of seconds, at most a year, which every clock accepts."""

    name = "number of seconds"

    def __init__(self, min: float) -> None:  # noqa: A002
        super().__init__(min=min, max=365 * 86400)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse NaN, too, which click takes as within every range."""
        seconds = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number", param, ctx) if math.isnan(seconds) else seconds


def read_toml(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Take the file's keys as defaults, which the environment and flags override."""
    if path is None:
        return None
    try:
        table = tomllib.loads(_read(path))
        ctx.meta[UNTRUSTED] = _why_untrusted(path)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", ctx, param) from None
    except RecursionError:
        raise click.BadParameter(f"{path}: nested too deeply", ctx, param) from None
    except ValueError as error:
        raise click.BadParameter(f"{path}: {printable(str(error), _SHOWN)}", ctx, param) from None
    options = {name: p for p in ctx.command.params if p.expose_value for name in p.opts if isinstance(p, click.Option)}
    defaults = {}
    for key, value in table.items():
        option = options.get(f"--{key}")
        if option is None:
            raise click.BadParameter(f"{path}: unknown setting: {printable(key, _SHOWN)}", ctx, param)
        what, good = _expected(option, value)
        if not good:
            raise click.BadParameter(f"{path}: {key}: must be {what}: {_shown(value)}", ctx, param)
        defaults[option.name] = [value] if option.multiple and isinstance(value, str) else value
    ctx.default_map = defaults
    return path


def _why_untrusted(path: Path) -> str | None:
    try:
        check_file(path)
    except UntrustedError as error:
        return error.strerror
    return None


def _read(path: Path) -> str:
    """Return the text of the file. Raises OSError, or ValueError if it is no text or no file of settings."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)  # the writer of a pipe may never come
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("not a regular file")
        if len(raw := file.read(_LONGEST + 1)) > _LONGEST:
            raise ValueError(f"more than {_LONGEST} bytes")
    return raw.decode()


def _shown(value: object) -> str:
    """Return a value for an error: of a list or a table only what it is, as it may be of any size."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return printable(repr(value), _SHOWN)


def _expected(option: click.Option, value: object) -> tuple[str, bool]:
    """Return the TOML type that the option needs, in words, and whether `value` has it."""
    if option.is_flag:
        return "true or false", isinstance(value, bool)
    if isinstance(option.flag_value, str):  # whose value is optional
        return "true, false or a string", isinstance(value, bool | str)
    if isinstance(option.type, Seconds):
        return "a number", isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(option.type, click.IntRange):
        return "a whole number", isinstance(value, int) and not isinstance(value, bool)
    if option.multiple and isinstance(value, list):
        return "a list of strings", all(isinstance(item, str) for item in value)
    return "a string", isinstance(value, str)
