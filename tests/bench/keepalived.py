"""keepalived as it is measured: in this thread's network namespace, its files in a directory of its own."""

import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.bench import rivals
from tests.bench.trees import PORT, VIP_PORT, WEIGHT, Shape, address, vip

__all__ = ["Keepalived", "configure", "of_shape", "running"]

PATIENCE = 120  # seconds for a line to come
LOOK = 0.005  # seconds between looks at its log


class Keepalived:
    """A running keepalived, and its log, a file, so that nobody has to be woken for each of its lines."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[str]) -> None:
        self._process = process
        self._log = log
        self._said = ""

    def reload(self) -> None:
        """Make it read its configuration again."""
        self._process.send_signal(signal.SIGHUP)

    def wait_for(self, text: str) -> None:
        """Take what it has logged up to `text`, and wait for that if need be."""
        until = time.monotonic() + PATIENCE
        while text not in self._said:
            assert time.monotonic() < until, f"keepalived never said {text!r}"
            time.sleep(LOOK)
            self._said += self._log.read()
        self._said = self._said.partition(text)[2]


def configure(directory: Path, lines: Iterable[str]) -> None:
    """Write its configuration."""
    _configuration(directory).write_text("".join(f"{line}\n" for line in lines))


def of_shape(shape: Shape, weights: Mapping[tuple[int, int], int]) -> Iterator[str]:
    """Yield the lines of a configuration that makes the table of `shape`, with these weights of some backends.

    Nothing is checked, so that all real servers are there at once.
    """
    for service in range(shape.services):
        yield f"virtual_server {vip(service)} {VIP_PORT} {{\n lvs_sched wlc\n lvs_method NAT\n protocol TCP"
        for backend in range(shape.backends):
            weight = weights.get((service, backend), WEIGHT)
            yield f" real_server {address(service, backend)} {PORT} {{\n weight {weight}\n }}"
        yield "}"


@contextmanager
def running(directory: Path) -> Iterator[Keepalived]:
    """Run it for a while, and leave its table behind."""
    # checks only, in the foreground
    flags = ["-C", "-n", "-l", "-I", "-f", str(_configuration(directory))]
    flags += ["-p", str(directory / "parent.pid"), "-c", str(directory / "checkers.pid")]
    path = directory / "keepalived.log"
    with path.open("w") as written, path.open() as log:
        process = subprocess.Popen(rivals.command("keepalived", *flags), stdout=written, stderr=written)
        try:
            yield Keepalived(process, log)
        finally:
            process.terminate()
            process.wait()


def _configuration(directory: Path) -> Path:
    return directory / "keepalived.conf"
