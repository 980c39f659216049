"""The TOML file of `--config`, and with it every flag of the node, up to where the node would start."""

import tomllib
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec

from actors import main as node
from actors.options.docker import check_docker
from actors.settings import Settings
from clusterf.etcd.options import etcd_credentials
from tests.fuzz.mutate import NUMBERS, TEXTS, mutate_bytes, mutate_lines
from tests.fuzz.target import Target, targets
from tests.fuzz.tree import scratch

__all__ = ["TARGETS"]


@cache
def _names() -> list[str]:
    return [name[2:] for p in node.main.params for name in p.opts if name.startswith("--")]


def mutate_toml(data: bytes, rng: Random) -> bytes:
    """Change a line, or add a setting."""
    if rng.random() < 0.5:
        return mutate_lines(data, rng)
    if rng.random() < 0.2:
        return mutate_bytes(data, rng)
    lines = data.split(b"\n")
    value = rng.choice(
        (
            str(rng.choice(NUMBERS)),
            repr(rng.choice(TEXTS)),
            "true",
            "nan",
            "inf",
            "[]",
            "{}",
            "1979-05-27",
            '["a", "b"]',
            "[" * 3000,
            "0.5",
        )
    )
    lines.insert(rng.randrange(len(lines) + 1), f"{rng.choice(_names())} = {value}".encode(errors="surrogatepass"))
    return b"\n".join(lines)


def _settings(data: bytes) -> str:
    """Check that a file is taken, or refused in one line that names it."""
    with scratch() as folder:
        path = folder / "node.toml"
        path.write_bytes(data)
        try:
            with node.main.make_context("clusterf-node", ["--config", str(path)]) as context:
                _check_flags(context.params)
        except click.exceptions.Exit as error:
            return f"exit {error.exit_code}"
        except click.ClickException as error:
            return _refused(path, error.format_message())
        return "taken"


def _check_flags(flags: dict[str, Any]) -> None:
    """Do what the node does with its flags before it starts: the settings reach the other processes as they are."""
    state, runtime = flags.pop("state_dir"), flags.pop("runtime_dir")
    flags["sources"] = node._parse_sources(flags["sources"], etcd_credentials(flags))
    if "docker" in flags["roles"]:
        check_docker(flags, flags["sources"])
    known = {name: value for name, value in flags.items() if name in Settings.__struct_fields__}
    settings = Settings(**known, state_dir=str(state), runtime_dir=str(runtime))
    with suppress(UnicodeEncodeError):
        assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


def _refused(path: Path, message: str) -> str:
    assert message
    if _is_toml(path):
        return "refused"
    assert str(path) in message
    return "not TOML"


def _is_toml(path: Path) -> bool:
    try:
        tomllib.loads(path.read_text())
    except (ValueError, RecursionError):
        return False
    return True


TARGETS = targets(
    {
        "settings": Target(
            _settings,
            ("actors.options.settings_file", "actors.options.docker", "actors.options.ipvs", "clusterf.lib.options"),
            mutate_toml,
        )
    }
)
