"""A run of a node with `--once`, timed by its log."""

import re
import subprocess
import time
from datetime import datetime
from pathlib import Path

import msgspec

from actors.director.ipvs_writer import PART
from tests.bench.nodes import command

__all__ = ["Start", "once"]

_OPERATION = re.compile(r"ipvs( noop)?: ipvsadm ")


class Start(msgspec.Struct, frozen=True):
    """One run of a node with `--once`. Times are in seconds from its exec."""

    operations: int
    first: float  # operation logged
    last: float  # the last one
    exit: float

    @property
    def apply(self) -> float:
        """How long the operations took, logging them included.

        They are logged when they are done, `PART` at a time; so the first part
        is written before the first line, and is taken to be as slow as the rest.
        """
        if self.operations <= PART:
            return 0.0
        return (self.last - self.first) * self.operations / (self.operations - PART)


class _Line(msgspec.Struct):
    time: datetime
    message: str


def once(source: str, directory: Path, *more: str) -> Start:
    """Run a node with `--once` and `more` flags, and measure it."""
    # a file, so that no reader is woken for each line
    log = directory / "log"
    with log.open("w") as stderr:
        began = time.time()
        flags = ["--once", "--once-timeout", "600", "--log-format", "json", *more]
        subprocess.run(command(source, directory, *flags), stderr=stderr, check=True)
        ended = time.time()
    said = log.read_bytes().splitlines()
    strange = [line for line in said if not line.startswith(b"{")]
    assert not strange, f"the node logged {strange}"
    lines = [msgspec.json.decode(line, type=_Line) for line in said]
    times = [line.time.timestamp() - began for line in lines if _OPERATION.match(line.message)]
    first, last = (times[0], times[-1]) if times else (0.0, 0.0)
    return Start(len(times), first, last, ended - began)
