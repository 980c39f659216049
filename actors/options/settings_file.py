"""The TOML file of `--config`, and the type of flags that are times."""

import math
import tomllib
from pathlib import Path
from typing import Any

import click

__all__ = ["Seconds", "read_toml"]


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
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", ctx, param) from None
    except ValueError as error:
        raise click.BadParameter(f"{path}: {error}", ctx, param) from None
    options = {name: p for p in ctx.command.params if p.expose_value for name in p.opts if isinstance(p, click.Option)}
    defaults = {}
    for key, value in table.items():
        option = options.get(f"--{key}")
        if option is None:
            raise click.BadParameter(f"{path}: unknown setting: {key}", ctx, param)
        what, good = _expected(option, value)
        if not good:
            raise click.BadParameter(f"{path}: {key}: must be {what}: {value!r}", ctx, param)
        defaults[option.name] = [value] if option.multiple and isinstance(value, str) else value
    ctx.default_map = defaults
    return path


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
